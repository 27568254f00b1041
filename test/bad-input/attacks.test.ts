import * as connects from './connects.ts'
import * as envelopes from './envelopes.ts'
import * as frames from './frames.ts'
import { type Attack, assertAttack, assertNotStored, CANARY, type Scene, startScene } from './scene.ts'
import * as topics from './topics.ts'

/** Every attack of a list is a test of its own in one world: an attack must not spoil it for those behind it. */
function suite(title: string, attacks: readonly Attack[]): void {
  describe(title, () => {
    let scene: Scene
    before(async () => {
      scene = await startScene()
    })
    after(async () => {
      assertNotStored(scene.world, CANARY)
      await scene.stop()
    })
    for (const attack of attacks) it(attack.name, () => assertAttack(scene, attack))
  })
}

const alike = 'nothing stored, one counter, one line in the log, nobody else disturbed'

suite(`before CONNECT, the connection is closed without a word (${alike}) for`, [
  ...connects.firstPackets,
  ...connects.connectLengths,
])
suite(`a CONNECT is closed without a word (${alike}) for`, [...connects.malformedConnects, ...connects.badConnectTexts])
suite(`a CONNECT is refused with the code that says why (${alike}) for`, [
  ...connects.refusedConnects,
  ...connects.wills,
  ...connects.strangers,
])
suite(`after CONNECT, the connection is closed without an answer (${alike}) for`, [
  ...frames.foreignTypes,
  ...frames.badFlags,
  ...frames.badIds,
  ...frames.badSubscribes,
  ...frames.badFrameTexts,
  ...frames.frameLengths,
  ...frames.observers,
])
suite(`a filter is denied and forgotten (${alike}):`, topics.deniedFilters)
suite(`a PUBLISH to a topic that is not the own gets no PUBACK and a closed connection (${alike}):`, [
  ...topics.foreignTopics,
  ...topics.badTopics,
])
suite(`raw bytes are refused in a line for people, then acknowledged (${alike}):`, topics.badRecipients)
suite(`a request that cannot be answered closes the connection (${alike}):`, envelopes.unreadable)
suite(`a request with a stamp is refused by its code, then acknowledged (${alike}):`, [
  ...envelopes.malformedRequests,
  ...envelopes.tooLarge,
  ...envelopes.badRecipients,
  ...envelopes.badReceipts,
])
