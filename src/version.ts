/** The project's version; package.json says the same (tested). */
export const VERSION = "0.1.0";
