import { describe, expect, test } from 'vitest'
import { amendKeySlots, type LuksAmendValues } from '../../../../src/drivers/luks/amend.js'
import { unlock } from '../../../../src/drivers/luks/key-slots.js'
import { newVolume, password } from '../../../support/luks-volume.js'

const SECRETS: Record<string, string> = { s0: 'first', s1: 'second', s2: 'third' }

async function volume() {
  const { slots, clock } = await newVolume('first')
  const amend = (values: Partial<LuksAmendValues>, { force = false, openedBy = 's0' } = {}): Promise<void> =>
    amendKeySlots(
      { slots, clock, secret: (id) => password(SECRETS[id] ?? ''), openedBy, force },
      {
        state: undefined,
        'new-secret': undefined,
        'old-secret': undefined,
        keyslot: undefined,
        'iter-time': undefined,
        ...values,
      },
    )
  const active = () => slots.header.keySlots.flatMap((slot, index) => (slot.active ? [index] : []))
  return { slots, amend, active }
}

const ADD = { state: 'active', 'new-secret': 's1', 'iter-time': 0 }

describe('a change of key slots', () => {
  test('adds a password to the first free slot, or to the one named', async () => {
    const { slots, amend, active } = await volume()
    await amend(ADD)
    await amend({ ...ADD, keyslot: 5, 'new-secret': 's2' })
    expect(active()).toEqual([0, 1, 5])
    expect((await unlock(slots, password('second'))).slot).toBe(1)
    expect((await unlock(slots, password('third'))).slot).toBe(5)
  })

  test('overwrites a slot only by force', async () => {
    const { slots, amend } = await volume()
    await expect(amend({ ...ADD, keyslot: 0 })).rejects.toMatchObject({
      code: 'EINVAL',
      message: 'Refusing to overwrite active keyslot 0 - please erase it first',
    })
    await amend({ ...ADD, keyslot: 0 }, { force: true })
    await expect(unlock(slots, password('first'))).rejects.toMatchObject({ code: 'EACCES' })
    expect((await unlock(slots, password('second'))).slot).toBe(0)
  })

  test('takes slots away by number and by password', async () => {
    const { amend, active } = await volume()
    await amend(ADD)
    await amend(ADD)
    await amend({ ...ADD, 'new-secret': 's2' })
    await amend({ state: 'inactive', keyslot: 3 })
    expect(active()).toEqual([0, 1, 2])
    await amend({ state: 'inactive', 'old-secret': 's1', keyslot: 2 })
    await amend(ADD)
    await amend({ state: 'inactive', 'old-secret': 's1' })
    expect(active()).toEqual([0])
  })

  test('leaves the last way to the data, unless forced', async () => {
    const { amend, active } = await volume()
    await expect(amend({ state: 'inactive', keyslot: 0 })).rejects.toMatchObject({
      message:
        'Attempt to erase the only active keyslot 0 which will erase all the data in the image irreversibly - refusing operation',
    })
    await expect(amend({ state: 'inactive', 'old-secret': 's0' })).rejects.toMatchObject({
      message:
        'All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation',
    })
    expect(active()).toEqual([0])
    await amend({ state: 'inactive', keyslot: 0 }, { force: true })
    expect(active()).toEqual([])
  })

  test('finds a free slot, or says that there is none', async () => {
    const { slots, amend } = await volume()
    slots.header.keySlots = slots.header.keySlots.map((slot) => ({ ...slot, active: true }))
    await expect(amend(ADD)).rejects.toMatchObject({ message: "Can't add a keyslot - all keyslots are in use" })
  })

  test.each<[Partial<LuksAmendValues>, string]>([
    [{ 'new-secret': 's1' }, "Parameter 'state' is missing"],
    [{ state: 'foo' }, "Parameter 'state' does not accept value 'foo'"],
    [{ ...ADD, keyslot: 8 }, 'Invalid keyslot 8 specified, must be between 0 and 7'],
    [{ state: 'active', keyslot: 3 }, "'new-secret' is required to activate a keyslot"],
    [{ ...ADD, 'old-secret': 's0' }, "'old-secret' must not be given when activating keyslots"],
    [
      { state: 'inactive' },
      'To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given',
    ],
    [{ state: 'inactive', keyslot: 4 }, 'Given keyslot 4 is already erased (inactive) '],
    [{ state: 'inactive', keyslot: 0, 'iter-time': 3 }, "'iter-time' must not be given when erasing keyslots"],
    [{ state: 'inactive', keyslot: 0, 'new-secret': 's1' }, "'new-secret' must not be given when erasing keyslots"],
    [{ state: 'inactive', 'old-secret': 's2' }, 'No keyslots match given (old) password for erase operation'],
    [
      { state: 'inactive', 'old-secret': 's1', keyslot: 0 },
      "Given keyslot 0 doesn't contain the given old password for erase operation",
    ],
  ])('%j is refused', async (values, message) => {
    const { amend, active } = await volume()
    await expect(amend(values)).rejects.toMatchObject({ code: 'EINVAL', message })
    expect(active()).toEqual([0])
  })

  test('needs the password that opened the volume', async () => {
    const { amend, active } = await volume()
    await expect(amend(ADD, { openedBy: 's1' })).rejects.toMatchObject({ code: 'EACCES' })
    expect(active()).toEqual([0])
  })
})
