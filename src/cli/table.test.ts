import { test } from "vitest";
import { formatFields, formatTable, SECRET_COLUMNS } from "./table.ts";

test("secret list -v is Slicer's, byte for byte", ({ expect }) => {
  expect(formatTable(SECRET_COLUMNS, [["my-secret", "11", "0600", "0", "0"]])).toBe(
    [
      "NAME                      SIZE       PERMISSIONS  UID      GID",
      "----                      ----       -----------  ---      ---",
      "my-secret                 11         0600         0        0",
    ].join("\n"),
  );
});

test("a name that is too long for its column still ends in a space", ({ expect }) => {
  const name = "n".repeat(40);
  const row = formatTable(SECRET_COLUMNS, [[name, "1", "0600", "0", "0"]]).split("\n")[2];
  expect(row?.split(/ +/)).toEqual([name, "1", "0600", "0", "0"]);
});

test("without rows there are header and rule", ({ expect }) => {
  expect(formatTable([{ title: "NAME" }], [])).toBe("NAME\n----");
});

test("columns without a width fit what is in them, two spaces apart", ({ expect }) => {
  expect(formatTable([{ title: "A" }, { title: "B" }], [["long cell", "x"]])).toBe(
    "A          B\n-          -\nlong cell  x",
  );
});

test("fields are aligned, absent ones left out, further lines indented", ({ expect }) => {
  expect(
    formatFields([
      ["name", "x"],
      ["link", undefined],
      ["refused", "a\nb"],
    ]),
  ).toBe("name     x\nrefused  a\n         b");
});
