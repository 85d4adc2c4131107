/** One word of a POSIX shell, whatever is in it (XCU 2.2.2: nothing is special between single quotes but their end). */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9/._:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
