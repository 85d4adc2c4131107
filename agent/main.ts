import * as sys from "sys";
sys.write(1, new Uint8Array([104,10]));
sys.exit(0);
