import { readFileSync, writeFileSync } from 'node:fs'
import { fillIn } from '../markdown.ts'
import { aimsText } from './aims.ts'
import type { Part, PartName, Results } from './bench.ts'
import { machineText, PARTS, readResults, textOf } from './bench.ts'
import { figure } from './report.ts'
import { scaleTexts } from './scale.ts'

const about = <Name extends PartName>(name: Name, part: Part<Name>): string =>
  [
    textOf(name, part).replace(/^## .*\n\n/, ''),
    '',
    `Measured ${machineText(part.date, part.machine)} Load of the machine in the minute before it ended: ${figure(part.load)}. It took ${figure(part.seconds)} s.`,
  ].join('\n')

function textsOf(results: Results): Record<string, string> {
  const texts: Record<string, string> = {}
  const add = <Name extends PartName>(name: Name) => {
    const part = results[name]
    if (part !== undefined) texts[name] = about(name, part)
  }
  for (const name of PARTS) add(name)
  return { ...texts, aims: aimsText(results) }
}

export interface Documents {
  readonly results: string
  readonly benchmarks: string
  readonly scale: string
}

/** Writes what was measured into the two documents; what was not measured stays as it is. */
export function writeDocuments({ results: path, benchmarks, scale }: Documents): readonly string[] {
  const results = readResults(path)
  const texts = textsOf(results)
  writeFileSync(benchmarks, fillIn(readFileSync(benchmarks, 'utf8'), texts))
  const model = scaleTexts(results)
  if (model !== undefined) writeFileSync(scale, fillIn(readFileSync(scale, 'utf8'), model))
  return [...Object.keys(texts), ...(model === undefined ? [] : ['scale'])]
}
