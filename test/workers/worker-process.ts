/** broker/worker.ts as a process of its own, ready when this resolves. */
import { type Ended, startFile } from '../listeners/main-process.ts'

export interface WorkerProcess {
  readonly ended: Promise<Ended>
  /** What it has written until now. */
  output(): string
  signal(name: NodeJS.Signals): void
}

/** Rejects with its output when it ends before it takes turns. */
export async function startWorker(env: Record<string, string>): Promise<WorkerProcess> {
  const { child, ended, output } = startFile('worker.ts', [], env)
  await new Promise<void>((resolve, reject) => {
    const check = (): void => {
      if (!output().includes('the worker takes turns')) return
      child.stdout?.off('data', check)
      resolve()
    }
    child.stdout?.on('data', check)
    void ended.then(() => reject(new Error(`the worker ended: ${output()}`)))
  })
  return { ended, output, signal: (name) => void child.kill(name) }
}
