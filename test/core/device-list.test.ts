import assert from 'node:assert/strict'
import fc from 'fast-check'
import { checkDeviceList, type NamedDevice } from '../../core/device-list.ts'
import type { Device } from '../../core/ports.ts'

const known = (number: number, registrationId: number): Device => ({
  id: `d${number}`,
  number,
  registrationId,
  numbered: false,
})
const named = (device: number, registrationId: number): NamedDevice => ({ device, registrationId })
const actual = [known(1, 11), known(2, 22), known(5, 55)]

const devices = fc
  .uniqueArray(fc.record({ number: fc.integer({ min: 1, max: 9 }), id: fc.integer({ min: 1, max: 3 }) }), {
    selector: ({ number }) => number,
    maxLength: 6,
  })
  .map((list) => list.map(({ number, id }) => known(number, id)))
const names = fc.array(
  fc.record({ device: fc.integer({ min: 1, max: 9 }), registrationId: fc.integer({ min: 1, max: 3 }) }),
  { maxLength: 8 },
)

describe('the device list of a send', () => {
  it('is right when it names all devices once with their registration ids, in any order', () => {
    assert.equal(checkDeviceList([named(1, 11), named(2, 22), named(5, 55)], actual, false), undefined)
    assert.equal(checkDeviceList([named(5, 55), named(1, 11), named(2, 22)], actual, false), undefined)
    assert.equal(checkDeviceList([], [], false), undefined)
  })

  it('is told what is missing, what is too much and what was registered anew', () => {
    assert.deepEqual(checkDeviceList([named(1, 99), named(3, 33), named(5, 55)], actual, false), {
      missing: [named(2, 22)],
      extra: [named(3, 33)],
      stale: [named(1, 11)],
    })
  })

  it('counts a device that is named twice as too much', () => {
    const fault = checkDeviceList([named(1, 11), named(1, 11), named(2, 22), named(5, 55)], actual, false)
    assert.deepEqual(fault, { missing: [], extra: [named(1, 11)], stale: [] })
  })

  it('may leave devices out when it is partial, and nothing else', () => {
    assert.equal(checkDeviceList([named(2, 22)], actual, true), undefined)
    assert.equal(checkDeviceList([], actual, true), undefined)
    assert.deepEqual(checkDeviceList([named(2, 23), named(7, 1)], actual, true), {
      missing: [],
      extra: [named(7, 1)],
      stale: [named(2, 22)],
    })
  })

  it('is right once it is repaired as it was told', () => {
    fc.assert(
      fc.property(names, devices, fc.boolean(), (list, truth, partial) => {
        const fault = checkDeviceList(list, truth, partial)
        if (fault === undefined) return
        assert.ok(fault.missing.length + fault.extra.length + fault.stale.length > 0)
        const repaired = [...list]
        for (const { device, registrationId } of fault.extra) {
          repaired.splice(
            repaired.findLastIndex((one) => one.device === device && one.registrationId === registrationId),
            1,
          )
        }
        for (const entry of fault.stale)
          repaired.splice(
            repaired.findIndex(({ device }) => device === entry.device),
            1,
          )
        repaired.push(...fault.missing, ...fault.stale)
        assert.equal(checkDeviceList(repaired, truth, partial), undefined)
      }),
    )
  })

  it('never passes a device that is unknown or registered anew, nor leaves one out unless partial', () => {
    fc.assert(
      fc.property(names, devices, fc.boolean(), (list, truth, partial) => {
        if (checkDeviceList(list, truth, partial) !== undefined) return
        for (const { device, registrationId } of list) {
          assert.ok(truth.some((one) => one.number === device && one.registrationId === registrationId))
        }
        assert.equal(new Set(list.map(({ device }) => device)).size, list.length)
        if (!partial) assert.equal(list.length, truth.length)
      }),
    )
  })
})
