import { describe, expect, it } from 'vitest'
import type { Json } from '../../../lib/local/json.ts'
import { compilePattern, PatternError } from '../../../lib/local/pattern.ts'

/** The sample event of EventBridge's user guide ("Amazon EventBridge event patterns"). */
const instance: Json = {
  version: '0',
  id: '6a7e8feb-b491-4cf7-a9f1-bf3703467718',
  'detail-type': 'EC2 Instance State-change Notification',
  source: 'aws.ec2',
  account: '111122223333',
  time: '2017-12-22T18:43:48Z',
  region: 'us-west-1',
  resources: ['arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0'],
  detail: { 'instance-id': 'i-1234567890abcdef0', state: 'terminated', 'c-count': 5, 'x-limit': 301.8, empty: '', nothing: null },
}

describe('patterns of the EventBridge user guide', () => {
  const matching: Record<string, Json> = {
    'a source': { source: ['aws.ec2'] },
    'several fields': {
      source: ['aws.ec2'],
      'detail-type': ['EC2 Instance State-change Notification'],
      detail: { state: ['terminated'] },
    },
    'one of several values': { detail: { state: ['running', 'terminated'] } },
    'an element of an array': { resources: ['arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0'] },
    'an empty text': { detail: { empty: [''] } },
    null: { detail: { nothing: [null] } },
    prefix: { time: [{ prefix: '2017-12-22' }] },
    'prefix, ignoring case': { source: [{ prefix: { 'equals-ignore-case': 'AWS.' } }] },
    suffix: { source: [{ suffix: 'ec2' }] },
    'suffix, ignoring case': { source: [{ suffix: { 'equals-ignore-case': '.EC2' } }] },
    'equals-ignore-case': { 'detail-type': [{ 'equals-ignore-case': 'ec2 instance state-change notification' }] },
    'anything-but': { detail: { state: [{ 'anything-but': 'initializing' }] } },
    'anything-but, a list': { detail: { state: [{ 'anything-but': ['stopped', 'overloaded'] }] } },
    'anything-but, numbers': { detail: { 'x-limit': [{ 'anything-but': [100, 200, 300] }] } },
    'anything-but, a prefix': { detail: { state: [{ 'anything-but': { prefix: 'init' } }] } },
    'anything-but, a list of suffixes': { detail: { state: [{ 'anything-but': { suffix: ['ing', 'ped'] } }] } },
    'anything-but, ignoring case': {
      detail: { state: [{ 'anything-but': { 'equals-ignore-case': ['INITIALIZING', 'RUNNING'] } }] },
    },
    'anything-but, a wildcard': { detail: { state: [{ 'anything-but': { wildcard: 'init*' } }] } },
    numeric: {
      detail: { 'c-count': [{ numeric: ['>', 0, '<=', 5] }], 'x-limit': [{ numeric: ['=', 3.018e2] }] },
    },
    exists: { detail: { state: [{ exists: true }] } },
    'exists, of null': { detail: { nothing: [{ exists: true }] } },
    absent: { detail: { 'no-such': [{ exists: false }] } },
    'absent, of a whole branch': { nowhere: { field: [{ exists: false }] } },
    wildcard: { resources: [{ wildcard: 'arn:aws:ec2:*:*:instance/*' }] },
    'one of two fields': { $or: [{ source: ['aws.s3'] }, { region: ['us-west-1'] }] },
    'one of two fields, nested': { detail: { $or: [{ state: ['running'] }, { 'c-count': [{ numeric: ['>', 4] }] }] } },
    'a value or its absence': { detail: { 'c-count': [{ exists: false }, { numeric: ['=', 5] }] } },
  }
  for (const [name, pattern] of Object.entries(matching))
    it(`match: ${name}`, () => expect(compilePattern(pattern)(instance)).toBe(true))

  const others: Record<string, Json> = {
    'another value': { detail: { state: ['running'] } },
    'a field that is not there': { detail: { 'no-such': ['terminated'] } },
    'one field of two': { source: ['aws.ec2'], region: ['eu-west-1'] },
    'a number for a text': { account: [111122223333] },
    'the text of a number': { detail: { 'c-count': ['5'] } },
    'null for an empty text': { detail: { empty: [null] } },
    'null for nothing at all': { detail: { 'no-such': [null] } },
    'anything-but for nothing at all': { detail: { 'no-such': [{ 'anything-but': 'x' }] } },
    'exists, of an object': { detail: [{ exists: true }] },
    'absent, though it is there': { detail: { state: [{ exists: false }] } },
    'case matters': { source: ['AWS.EC2'] },
    'prefix of a number': { detail: { 'c-count': [{ prefix: '5' }] } },
    'numeric on a text': { account: [{ numeric: ['>', 0] }] },
    'wildcard needs the rest': { source: [{ wildcard: '*s3' }] },
    'neither of two fields': { $or: [{ source: ['aws.s3'] }, { region: ['eu-west-1'] }] },
  }
  for (const [name, pattern] of Object.entries(others))
    it(`do not match: ${name}`, () => expect(compilePattern(pattern)(instance)).toBe(false))

  it('a branch that is not an object counts as absent for exists: false', () => {
    // aws/event-ruler, "Exists matching": it works on leaf nodes only.
    expect(compilePattern({ detail: [{ exists: false }] })(instance)).toBe(true)
    expect(compilePattern({ detail: { state: { inner: [{ exists: false }] } } })(instance)).toBe(true)
  })

  it('a field is absent only if no element of an array has it', () => {
    const pattern = compilePattern({ list: { x: [{ exists: false }] } })
    expect(pattern({ list: [{ y: 1 }, { x: 1 }] })).toBe(false)
    expect(pattern({ list: [{ y: 1 }] })).toBe(true)
    expect(pattern({ list: [] })).toBe(true)
  })

  it('a list named $or that is no list of objects is a field of that name', () => {
    expect(compilePattern({ $or: ['x'] })({ $or: 'x' })).toBe(true)
  })

  it('match the records of a table stream, where numbers are texts', () => {
    const record: Json = {
      eventName: 'MODIFY',
      dynamodb: { Keys: { pk: { S: 'CASE#x' }, sk: { S: 'PROGRESS' } }, NewImage: { done: { N: '3' }, open: { BOOL: true } } },
    }
    expect(
      compilePattern({ eventName: ['INSERT', 'MODIFY'], dynamodb: { Keys: { sk: { S: [{ prefix: 'PROG' }] } } } })(record),
    ).toBe(true)
    expect(compilePattern({ dynamodb: { NewImage: { done: { N: ['3'] }, open: { BOOL: [true] } } } })(record)).toBe(true)
    expect(compilePattern({ dynamodb: { NewImage: { done: { N: [3] } } } })(record)).toBe(false)
    expect(compilePattern({ dynamodb: { OldImage: { done: { N: [{ exists: false }] } } } })(record)).toBe(true)
  })

  const refused: Record<string, Json> = {
    'no object': ['x'],
    'an empty pattern': {},
    'an empty list': { source: [] },
    'a value outside a list': { source: 'x' },
    'an unknown operator': { source: [{ cidr: '10.0.0.0/8' }] },
    'two operators at once': { source: [{ prefix: 'a', suffix: 'b' }] },
    'exists of a text': { source: [{ exists: 'yes' }] },
    'a number as prefix': { source: [{ prefix: 1 }] },
    'consecutive wildcards': { source: [{ wildcard: 'a**b' }] },
    'a needless escape': { source: [{ wildcard: '\\a' }] },
    'texts and numbers in anything-but': { source: [{ 'anything-but': ['a', 1] }] },
    'a negated range': { source: [{ 'anything-but': { numeric: ['>', 1] } }] },
    'half a comparison': { source: [{ numeric: ['>'] }] },
    'an unknown comparison': { source: [{ numeric: ['<>', 1] }] },
  }
  for (const [name, pattern] of Object.entries(refused)) {
    it(`refused: ${name}`, () => expect(() => compilePattern(pattern)).toThrow(PatternError))
  }
})
