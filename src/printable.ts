// Text from a party that is not trusted, made safe to show on a terminal.

const escape = 0x1b;
const bell = 0x07;

/**
 * `text` without what a terminal would obey: escape sequences (ECMA-48: CSI, and OSC, DCS, SOS, PM, APC with what they
 * carry), C0 controls but newline and tab, DEL, C1 controls, and Unicode's controls of writing direction. A carriage
 * return goes, so CR LF becomes LF.
 */
export function stripControl(text: string): string {
  const kept: string[] = [];
  for (let index = 0; index < text.length;) {
    const unit = text.charCodeAt(index);
    if (unit === escape) {
      index = afterEscape(text, index + 1);
    } else {
      if (!isControl(unit)) kept.push(text.charAt(index));
      index += 1;
    }
  }
  return kept.join("");
}

function isControl(unit: number): boolean {
  if (unit === 0x09 || unit === 0x0a) return false;
  if (unit < 0x20 || (unit >= 0x7f && unit <= 0x9f)) return true;
  return (unit >= 0x202a && unit <= 0x202e) || (unit >= 0x2066 && unit <= 0x2069);
}

/** The index behind the escape sequence whose ESC is just before `index`. */
function afterEscape(text: string, index: number): number {
  const kind = text.charAt(index);
  if (kind === "[") return afterCsi(text, index + 1);
  if (kind !== "" && "]PX^_".includes(kind)) return afterControlString(text, index + 1);
  let end = index;
  while (inRange(text, end, 0x20, 0x2f)) end += 1;
  return inRange(text, end, 0x30, 0x7e) ? end + 1 : end;
}

function afterCsi(text: string, index: number): number {
  let end = index;
  while (inRange(text, end, 0x20, 0x3f)) end += 1;
  return inRange(text, end, 0x40, 0x7e) ? end + 1 : end;
}

/** Ends at BEL or ESC \; one that is not closed ends with its line, so that it hides no more than that. */
function afterControlString(text: string, index: number): number {
  for (let end = index; end < text.length; end += 1) {
    const unit = text.charCodeAt(end);
    if (unit === bell) return end + 1;
    if (unit === escape) return text.charAt(end + 1) === "\\" ? end + 2 : end;
    if (unit === 0x0a) return end;
  }
  return text.length;
}

function inRange(text: string, index: number, low: number, high: number): boolean {
  const unit = text.charCodeAt(index);
  return unit >= low && unit <= high;
}
