/**
 * What is shown, as text. Pure. What came from others is cleaned here: no peer moves the cursor, writes a title, turns
 * the direction of text or begins a line that looks like another person's.
 */
import { stripVTControlCharacters } from 'node:util'
import { type ClientErrorCode, clientErrors } from '../faults.ts'
import type { MessageStatus } from '../store/message-rows.ts'

const INDENT = '    '
const DIGITS_PER_GROUP = 5
const GROUPS_PER_LINE = 4
const LINES_SHOWN_MAX = 200

const ticks: Record<MessageStatus, string> = { waiting: '·', accepted: '✓', delivered: '✓✓', read: '✓✓', failed: '✗' }

// Bidirectional marks and overrides, and what else is invisible but changes its neighbours; the joiner of emoji stays.
const invisible = /[\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g
const unprintable = /[\p{Cs}\p{Cn}\p{Co}]|(?!\n)\p{Cc}/gu

/** Text of others as it may stand in a terminal: lines, and nothing that controls. */
export function clean(text: string): string {
  return stripVTControlCharacters(text.replace(/\r\n?|[\u0085\u2028\u2029]/g, '\n'))
    .replace(/\t/g, ' ')
    .replace(invisible, '')
    .replace(unprintable, '')
}

/** The same on one line, cut. */
export function brief(text: string, charsMax: number): string {
  const line = clean(text).replace(/\n+/g, ' ')
  return line.length > charsMax ? `${line.slice(0, charsMax - 1)}…` : line
}

const wide =
  /\p{Emoji_Presentation}|[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\uff01-\uff60]/u
const narrowest = /[\p{M}\p{Cf}]/u

/** Columns of one character. */
function widthOfCharacter(character: string): number {
  if (character < '\u0300') return 1
  if (narrowest.test(character)) return 0
  return wide.test(character) ? 2 : 1
}

export function widthOf(text: string): number {
  let width = 0
  for (const character of stripVTControlCharacters(text)) width += widthOfCharacter(character)
  return width
}

/** Pieces of a word that is too long for a line; the first begins at column `at`. */
function piecesOf(word: string, columns: number, at: number): string[] {
  const pieces = ['']
  let column = at
  for (const character of word) {
    const width = widthOfCharacter(character)
    if (column + width > columns) {
      pieces.push('')
      column = INDENT.length
    }
    pieces[pieces.length - 1] += character
    column += width
  }
  return pieces
}

function wrapLine(line: string, columns: number, isFirst: boolean): string[] {
  const lines = [isFirst ? '' : INDENT]
  let column = widthOf(lines[0] ?? '')
  line.split(' ').forEach((word, i) => {
    const width = widthOf(word)
    const gap = i === 0 ? 0 : 1
    if (column + gap + width <= columns) {
      lines[lines.length - 1] += (gap === 1 ? ' ' : '') + word
      column += gap + width
      return
    }
    if (INDENT.length + width <= columns) {
      lines.push(INDENT + word)
      column = INDENT.length + width
      return
    }
    const [first = '', ...more] = piecesOf((gap === 1 ? ' ' : '') + word, columns, column)
    lines[lines.length - 1] += first
    for (const piece of more) lines.push(INDENT + piece)
    column = widthOf(lines.at(-1) ?? '')
  })
  return lines
}

/** The lines of `text`, none wider than `columns`; all but the first are indented, so nothing in it begins a line. */
export function wrap(text: string, columns: number): string[] {
  const lines = text.split('\n').flatMap((line, i) => wrapLine(line, columns, i === 0))
  if (lines.length <= LINES_SHOWN_MAX) return lines
  return [...lines.slice(0, LINES_SHOWN_MAX), `${INDENT}… and ${lines.length - LINES_SHOWN_MAX} more lines`]
}

export interface Shown {
  readonly text: string
  readonly status: MessageStatus
  readonly failure: ClientErrorCode | ''
}

/** An own message: its ticks, to whom, and what. `blue` colours, where there are colours. */
export function ownLine({ text, status, failure }: Shown, peer: string, blue?: (text: string) => string): string {
  const isRead = status === 'read'
  const tick = isRead && blue !== undefined ? blue(ticks.read) : ticks[status]
  const end = isRead && blue === undefined ? ' (read)' : ''
  const why = status === 'failed' ? `\nNot sent: ${failure === '' ? 'it failed.' : clientErrors[failure].about}` : ''
  return `  ${tick} to ${peer}: ${clean(text)}${end}${why}`
}

export function receivedLine({ text, failure }: Omit<Shown, 'status'>, sender: string): string {
  return `${sender}: ${failure === '' ? clean(text) : clientErrors[failure].about}`
}

/** 60 digits as 12 groups of 5, four in a line. */
export function digitLines(digits: string): string[] {
  const groups = digits.match(new RegExp(`.{${DIGITS_PER_GROUP}}`, 'g')) ?? []
  return Array.from(
    { length: Math.ceil(groups.length / GROUPS_PER_LINE) },
    (_, i) => `    ${groups.slice(i * GROUPS_PER_LINE, (i + 1) * GROUPS_PER_LINE).join(' ')}`,
  )
}

export const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`
