/** Of a line of /proc/net/unix, proc(5): a socket that accepts connections has this flag. */
const ACCEPTS = 0x10000;

/** Whether somebody listens at a path, by the text of /proc/net/unix. What is listed is the path that was bound. */
export function isSocketListening(unix: string, path: string): boolean {
  return unix.split("\n").some((line) => {
    const [, , , flags = "", , , , ...rest] = line.split(" ").filter((word) => word !== "");
    return rest.join(" ") === path && (Number.parseInt(flags, 16) & ACCEPTS) !== 0;
  });
}
