/** `$(NAME)` in commands, arguments, values of variables and subPathExpr. `$$` is one dollar. */

/** A text in pieces: literal, or the name of a variable with the text that it was written in. */
type Piece =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'variable'; readonly name: string };

/** Whatever is no `$(…)` and no `$$` stands for itself, a `$(` that is never closed too. */
function* piecesOf(text: string): Generator<Piece> {
  let from = 0;
  for (let at = text.indexOf('$'); at !== -1; at = text.indexOf('$', from)) {
    yield { kind: 'text', text: text.slice(from, at) };
    const next = text[at + 1];
    const end = next === '(' ? text.indexOf(')', at + 2) : -1;
    if (end !== -1) yield { kind: 'variable', name: text.slice(at + 2, end) };
    else yield { kind: 'text', text: next === '$' ? '$' : text.slice(at, at + 2) };
    from = end === -1 ? at + 2 : end + 1;
  }
  yield { kind: 'text', text: text.slice(from) };
}

/** Puts values in for names; a name that has none stays as it was written. */
export function expandVariables(text: string, valueOf: (name: string) => string | undefined): string {
  let expanded = '';
  for (const piece of piecesOf(text))
    expanded += piece.kind === 'text' ? piece.text : (valueOf(piece.name) ?? `$(${piece.name})`);
  return expanded;
}

/** The names in a text that have no value. */
export function namesWithoutValue(text: string, variables: ReadonlyMap<string, string>): readonly string[] {
  return [...piecesOf(text)].flatMap(piece =>
    piece.kind === 'variable' && !variables.has(piece.name) ? [piece.name] : [],
  );
}
