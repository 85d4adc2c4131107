import { test } from "vitest";
import { parseDelivery, type DeliveryFlags } from "./delivery-flags.ts";

const good: readonly [DeliveryFlags, object][] = [
  [{}, {}],
  [
    { permissions: "0640", uid: "1000", gid: "0" },
    { permissions: "0640", uid: 1000, gid: 0 },
  ],
  [{ mode: "400" }, { permissions: "0400" }],
  [{ permissions: "0400", mode: "0400" }, { permissions: "0400" }],
  [{ env: true }, { env: "DB_PASSWORD", file: false }],
  [{ env: "PGPASSWORD" }, { env: "PGPASSWORD", file: false }],
  [
    { env: true, file: true, mode: "0400" },
    { env: "DB_PASSWORD", file: true, permissions: "0400" },
  ],
  [{ file: true }, { file: true }],
  [{ env: false }, { env: null, file: true }],
  [{ file: "app/db" }, { file: true, path: "app/db" }],
  [{ file: "/srv/app/db" }, { file: true, link: "/srv/app/db" }],
  [{ link: "/srv/db" }, { link: "/srv/db" }],
  [{ owner: "postgres" }, { owner: "postgres" }],
  [{ owner: "postgres:adm" }, { owner: "postgres", group: "adm" }],
  [{ onChange: "reload:nginx.service" }, { on_change: { reload: "nginx.service" } }],
  [{ onChange: "signal:HUP:/run/x.pid" }, { on_change: { signal: "HUP", pidFile: "/run/x.pid" } }],
  [{ onChange: "exec:/bin/touch  /tmp/x" }, { on_change: { exec: ["/bin/touch", "/tmp/x"] } }],
];

test.for(good)("%j asks for %j", ([flags, body], { expect }) => {
  expect(parseDelivery("DB_PASSWORD", flags)).toEqual(body);
});

const bad: readonly [DeliveryFlags, string][] = [
  [{ permissions: "0800" }, '--permissions "0800" is not a mode'],
  [{ mode: "rw" }, '--mode "rw" is not a mode'],
  [{ mode: "0400", permissions: "0600" }, "--permissions and --mode are two names of one thing, and differ"],
  [{ uid: "ada" }, '--uid "ada" is not a uid or gid: 0 to 2097151'],
  [{ uid: "-1" }, '--uid "-1" is not a uid'],
  [{ gid: "2097152" }, '--gid "2097152" is not a uid or gid'],
  [{ owner: "1000" }, '--owner "1000" is a number'],
  [{ owner: "a", uid: "1" }, "one of them can"],
  [{ owner: "Ada" }, '--owner "Ada" is not a user name'],
  [{ env: true, mode: "0400" }, "--mode is of a file, and --env alone makes none"],
  [{ env: true, owner: "ada" }, "--owner is of a file"],
  [{ env: "LD_PRELOAD" }, '--env "LD_PRELOAD" would change how programs are loaded or run'],
  [{ file: "../x" }, '--file "../x" has the component ".."'],
  [{ file: "/a", link: "/b" }, "both name the link"],
  [{ link: "relative" }, '--link "relative" is not absolute'],
  [{ onChange: "reboot" }, '--on-change "reboot": not one of'],
  [{ onChange: "signal:KILL:/run/x.pid" }, "signal is not one of"],
  [{ onChange: "exec:touch" }, "is not absolute"],
];

test.for(bad)("%j is refused", ([flags, message], { expect }) => {
  const act = (): unknown => parseDelivery("DB_PASSWORD", flags);
  expect(act).toThrow(message);
  expect(act).toThrow(expect.objectContaining({ code: "invalid" }));
});

test("a secret's name that is no variable gets a variable suggested", ({ expect }) => {
  expect(() => parseDelivery("prod-db", { env: true })).toThrow(expect.objectContaining({ hint: "try --env PROD_DB" }));
});
