/**
 * MQTT 3.1.1 section 4.7 once more, written from the standard and not from topics/topic.ts, to be compared with it:
 * what is a topic, what is a filter, which topics a filter takes. It goes through texts character by character.
 */
const BYTES_MAX = 256
const LEVELS_MAX = 16

function isText(text: string): boolean {
  if (text.length === 0 || Buffer.byteLength(text) > BYTES_MAX) return false
  let slashes = 0
  for (const char of text) {
    const code = char.codePointAt(0) as number
    if (code === 0 || (code >= 0xd800 && code <= 0xdfff)) return false
    if (char === '/') slashes++
  }
  return slashes < LEVELS_MAX
}

export function isTopicByStandard(text: string): boolean {
  return isText(text) && !/[+#]/.test(text)
}

/** A wildcard fills its level, and `#` is the end. */
export function isFilterByStandard(text: string): boolean {
  if (!isText(text)) return false
  for (let i = 0; i < text.length; i++) {
    const char = text[i]
    if (char !== '+' && char !== '#') continue
    const isAlone = (i === 0 || text[i - 1] === '/') && (i === text.length - 1 || text[i + 1] === '/')
    if (!isAlone || (char === '#' && i !== text.length - 1)) return false
  }
  return true
}

export function matchesByStandard(filter: string, topic: string): boolean {
  if (!isFilterByStandard(filter) || !isTopicByStandard(topic)) return false
  if (topic.startsWith('$') && /^[+#]/.test(filter)) return false
  return takes(filter, 0, topic, 0)
}

/** Does `filter` from `i` take `topic` from `j`? Both stand at the beginning of a level, or behind the end. */
function takes(filter: string, i: number, topic: string, j: number): boolean {
  if (filter[i] === '#') return true
  const filterEnd = endOf(filter, i)
  const topicEnd = endOf(topic, j)
  if (filter[i] !== '+' && filter.slice(i, filterEnd) !== topic.slice(j, topicEnd)) return false
  const isFilterDone = filterEnd === filter.length
  if (topicEnd === topic.length) return isFilterDone || filter.slice(filterEnd) === '/#'
  return !isFilterDone && takes(filter, filterEnd + 1, topic, topicEnd + 1)
}

function endOf(text: string, from: number): number {
  const at = text.indexOf('/', from)
  return at < 0 ? text.length : at
}
