import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readObjects } from '../../../src/cli/objects.js'

let folder = ''

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'objects-'))
  writeFileSync(join(folder, 'raw'), 'open\nsesame')
  writeFileSync(join(folder, 'base64'), 'b3BlbiBz\nZXNhbWU=\n')
})

afterAll(() => rmSync(folder, { recursive: true }))

const read = (...objects: string[]): string[] =>
  readObjects(objects).map(({ id, data }) => `${id}: ${Buffer.from(data).toString()}`)

describe('--object', () => {
  test('defines secrets', () => {
    expect(read('secret,id=a,data=open,,sesame', 'throttle-group,id=t', 'secret,id=b,data=')).toEqual([
      'a: open,sesame',
      'b: ',
    ])
    expect(read('qom-type=secret,id=a,format=base64,data=b3BlbiBzZXNhbWU=')).toEqual(['a: open sesame'])
    expect(read('{"qom-type": "secret", "id": "a", "data": "open"}')).toEqual(['a: open'])
    expect(read(`secret,id=a,file=${join(folder, 'raw')}`)).toEqual(['a: open\nsesame'])
    expect(read(`secret,id=a,file=${join(folder, 'base64')},format=base64`)).toEqual(['a: open sesame'])
  })

  test.each([
    ['', "Parameter 'qom-type' is missing"],
    ['id=a,data=x', "Parameter 'qom-type' is missing"],
    ['{', 'JSON parse error, invalid object definition'],
    ['blah,id=a', "Parameter 'qom-type' does not accept value 'blah'"],
    ['secret,foo', "Expected '=' after parameter 'foo'"],
    ['secret,data=x', "Parameter 'id' is missing"],
    ['secret,id=0a,data=x', "Parameter 'id' expects an identifier"],
    ['secret,id=a,data=x,foo=bar', "Parameter 'foo' is unexpected"],
    ['secret,id=a,data=x,keyid=b,iv=c', 'Encrypted secrets are not supported'],
    ['secret,id=a,data=x,file=y', "'file' and 'data' are mutually exclusive"],
    ['secret,id=a', "Either 'file' or 'data' must be provided"],
    ['secret,id=a,data=x,format=bas', "Parameter 'format' does not accept value 'bas'"],
    ['secret,id=a,data=%%%%,format=base64', 'Base64 data contains invalid characters'],
    ['secret,id=a,data=b3Blb,format=base64', 'Base64 data contains invalid characters'],
    ['secret,id=a,file=/no/such', 'Unable to read /no/such: Failed to open file “/no/such”: No such file or directory'],
    ['secret,id=a,file=/', 'Unable to read /: Error reading file “/”: Is a directory'],
    ['throttle-group,id=a,x-bps=1', "A throttle group takes its limits from the throttle node, not from 'x-bps=1'"],
  ])('refuses %j', (object, message) => {
    expect(() => readObjects([object])).toThrow(expect.objectContaining({ message }))
  })

  test('refuses an id that is taken', () => {
    expect(() => readObjects(['throttle-group,id=a', 'secret,id=a,data=x'])).toThrow(
      "attempt to add duplicate property 'a' to object (type 'container')",
    )
  })
})
