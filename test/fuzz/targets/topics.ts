/**
 * Topics and filters: validity and matching against the matcher that was written apart, and what a device may publish
 * to.
 */
import { authorizePublish, judgeTopic } from '../../../plugins/authorize.ts'
import { isValidFilter, isValidTopic, matches, parseUpTopic, rawLevel, rawTo } from '../../../topics/topic.ts'
import { deviceOf } from '../acl.ts'
import { isFilterByStandard, isTopicByStandard, matchesByStandard } from '../matcher.ts'
import { check, type Target } from '../target.ts'

const NEWLINE = 10
const person = deviceOf('person')
const thing = deviceOf('thing')

/** An input is a filter, a newline, and a topic. */
export const topics: Target = {
  name: 'topics',
  run(input) {
    const cut = input.indexOf(NEWLINE)
    const filter = input.toString('utf8', 0, cut < 0 ? input.length : cut)
    const topicBytes = input.subarray(cut + 1)
    const topic = topicBytes.toString('utf8')
    check(isValidFilter(filter) === isFilterByStandard(filter), 'is it a filter?')
    check(isValidTopic(topic) === isTopicByStandard(topic), 'is it a topic?')
    check(matches(filter, topic) === matchesByStandard(filter, topic), 'does it match?')
    const reason = judgeTopic(topicBytes, 0, topicBytes.length)
    check(reason !== 'foreign_topic' || isTopicByStandard(topic), `${topic} is said to be a topic`)
    for (const connection of [person, thing]) {
      const route = authorizePublish(connection, topicBytes, 0, topicBytes.length)
      const parsed = reason === 'foreign_topic' ? parseUpTopic(topic, connection.device) : undefined
      if (parsed !== undefined) {
        const isRaw = parsed.name === 'raw'
        const isOwn = isRaw === (connection === thing) && parsed.name !== 'gone'
        check((route !== undefined) === isOwn, `${topic} leads to ${route}`)
        if (isRaw) checkRecipient(parsed.to)
      } else check(route === undefined || route === 'raw', `${topic} leads to ${route}`)
    }
  },
}

function checkRecipient(text: string): void {
  const to = rawTo(text)
  if (to !== undefined) check(rawLevel(to) === text, `${text} has another form, ${rawLevel(to)}`)
}
