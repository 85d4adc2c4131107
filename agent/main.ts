// The program as QuickJS runs it.
import { main } from "./cli.ts";
import { quickjs } from "#agent/platform/quickjs";

quickjs.exit(main(quickjs));
