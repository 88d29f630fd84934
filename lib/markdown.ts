/**
 * The generated parts of a Markdown file stand between `<!-- measured: name -->` and `<!-- end -->`; the prose around
 * them is written by hand and stays.
 * @throws if a text has no place in the file
 */
export function fillIn(document: string, texts: Readonly<Record<string, string>>): string {
  let filled = document
  for (const [name, text] of Object.entries(texts)) {
    const begin = `<!-- measured: ${name} -->`
    const from = filled.indexOf(begin)
    const to = filled.indexOf('<!-- end -->', from)
    if (from < 0 || to < 0) throw new Error(`the document has no place for ${name}`)
    filled = `${filled.slice(0, from + begin.length)}\n\n${text}\n\n${filled.slice(to)}`
  }
  return filled
}
