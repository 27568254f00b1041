import assert from 'node:assert/strict'
import { bars, judge } from '../../bench/bars.ts'
import { clusterBars } from '../../bench/cluster-bars.ts'
import { parseOptions } from '../../bench/options.ts'
import { plot } from '../../bench/plot.ts'
import { medianOf, type Result, type ResultFile } from '../../bench/results.ts'
import { barTable, resultTable } from '../../bench/tables.ts'

function result(server: string, scenario: string, median: Record<string, number>): Result {
  return {
    server,
    scenario,
    title: scenario,
    figure: 'msgPerS',
    unit: 'messages/s',
    median,
    runs: [median],
    failed: [],
  }
}

const results = [
  result('heliograph', 'raw-window-10', { msgPerS: 150_000, cpuSPer100k: 0.7 }),
  result('mosquitto', 'raw-window-10', { msgPerS: 100_000, cpuSPer100k: 1.1 }),
  result('heliograph', 'kill', { lost: 0, misordered: 1, acked: 600_000, seqTwice: 0 }),
]

const file: ResultFile = {
  date: '2026-01-02T03:04:05.000Z',
  command: 'node bench/main.ts',
  quick: false,
  runs: 3,
  seconds: 5,
  machine: {
    cpu: 'A <fast> CPU',
    cores: 2,
    memoryGib: 4,
    kernel: '6.1',
    fileSystem: 'ext4',
    fdatasyncP50Ms: 0.2,
    fdatasyncP99Ms: 0.4,
  },
  versions: { heliograph: '1', mosquitto: '2' },
  results,
  bars: judge(bars, results, 'heliograph'),
}

describe('the bench report', () => {
  it('takes the median of each figure, and the mean of the middle two of an even number', () => {
    assert.deepEqual(medianOf([{ a: 3 }, { a: 1, b: 5 }, { a: 2 }]), { a: 2, b: 5 })
    assert.deepEqual(medianOf([{ a: 1 }, { a: 2 }, { a: 4 }, { a: 9 }]), { a: 3 })
  })

  it('judges each bar by its own figure, and none that was not measured', () => {
    const bar = (measure: string) => file.bars.find((candidate) => candidate.measure === measure)
    const throughput = bar('raw, window 10, durable, against mosquitto')
    assert.deepEqual([throughput?.figure, throughput?.met, throughput?.aimMet], [1.5, true, false])
    const killed = bar('kill -9: acknowledged and lost, or misordered')
    assert.deepEqual([killed?.figure, killed?.met], [1, false])
    const idle = bar('idle connection, 5,000 of them')
    assert.deepEqual([idle?.figure, idle?.met, idle?.aimMet], [null, null, null])
  })

  it('judges how the cost of a message grows with nodes, in percent of one node', () => {
    const cost = (nodes: number, cpuSPer100k: number) => result('heliograph', `nodes-${nodes}`, { cpuSPer100k })
    const judged = judge(clusterBars, [cost(1, 10), cost(2, 11), cost(4, 12)], 'heliograph')
    const of = (text: string) => judged.find(({ measure }) => measure.includes(text))
    assert.deepEqual([of('2 nodes')?.figure, of('2 nodes')?.met], [10, true])
    assert.deepEqual([of('4 nodes')?.figure, of('4 nodes')?.met], [20, false])
    assert.deepEqual([of('BullMQ')?.figure, of('BullMQ')?.met], [null, null])
  })

  it('takes the scenarios of a profile, and refuses those of the other', () => {
    assert.ok(parseOptions(['--profile', 'cluster'], '2026-01-02').scenarios.includes('nodes-4'))
    assert.ok(!parseOptions([], '2026-01-02').scenarios.includes('nodes-4'))
    assert.equal(parseOptions(['--profile', 'cluster'], '2026-01-02').out, 'bench/results/2026-01-02-cluster.json')
    assert.throws(() => parseOptions(['--profile', 'cluster', '--scenario', 'idle'], ''), /there is no idle/)
    assert.throws(() => parseOptions(['--profile', 'other'], ''), /embedded or cluster/)
  })

  it('prints a line per scenario and per bar', () => {
    assert.match(resultTable(file), /raw-window-10, messages\/s +150,000 \(0.7\) +100,000 \(1.1\)/)
    assert.match(barTable(file), /raw, window 10, durable, against mosquitto .* 1.5 +yes +NO/)
    assert.match(barTable(file), /idle connection.* not measured/)
  })

  it('draws one bar per server and scenario, as wide as its figure', () => {
    const svg = plot(file)
    const widths = [...svg.matchAll(/<rect x="\d+" y="[\d.]+" width="([\d.]+)" height="12" rx="2"/g)].map((match) =>
      Number(match[1]),
    )
    const [helio = 0, mosquitto = 0] = widths.filter((width) => width !== 12)
    assert.ok(Math.abs(helio / mosquitto - 1.5) < 0.01, `${helio} and ${mosquitto}`)
    assert.ok(svg.includes('A &lt;fast&gt; CPU'))
    assert.ok(svg.includes('>150,000</text>'))
  })
})

describe('the command line of the bench', () => {
  const parse = (...args: string[]) => parseOptions(args, '2026-01-02')

  it('has defaults, and small ones for a quick try', () => {
    const { runs, seconds, killRounds, out, peers } = parse()
    assert.deepEqual({ runs, seconds, killRounds }, { runs: 3, seconds: 5, killRounds: 100 })
    assert.deepEqual([out, peers], ['bench/results/2026-01-02.json', []])
    assert.deepEqual([parse('--quick').runs, parse('--quick').seconds, parse('--quick', '--runs', '2').runs], [1, 1, 2])
    assert.deepEqual(parse('--vs', 'mosquitto,nats').peers, ['mosquitto', 'nats'])
    assert.deepEqual(parse('--scenario', 'idle').scenarios, ['idle'])
  })

  it('says what to do about what it does not understand', () => {
    assert.throws(() => parse('--fast'), /Unknown option '--fast'.*--help/)
    assert.throws(() => parse('--vs', 'mosquito'), /there is no mosquito; choose from mosquitto, nats/)
    assert.throws(() => parse('--scenario', 'idel'), /there is no idel; choose from .*idle/)
    assert.throws(() => parse('--runs', '0'), /--runs 0: give a whole number/)
    assert.throws(() => parse('--seconds', 'many'), /--seconds many: give a whole number/)
    assert.throws(() => parse('--out', 'x.txt'), /ends in \.json/)
    assert.throws(() => parse('stray'), /--help/)
  })
})
