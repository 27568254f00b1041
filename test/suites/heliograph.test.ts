import { openHeliograph } from './heliograph.ts'
import { pledges } from './pledges.ts'

describe('the server keeps every pledge that test:stock shows broken elsewhere', () => {
  for (const { says, keep } of pledges) {
    it(says, async () => {
      const broker = await openHeliograph()
      try {
        await keep(broker)
      } finally {
        await broker.stop()
      }
    })
  }
})
