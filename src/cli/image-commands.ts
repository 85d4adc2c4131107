import type { Command } from "commander";
import { examples, group, leaf, type Action, type Run } from "./command.ts";
import type { ImageFlags } from "./image-build.ts";

export function addImageCommands(run: Run, program: Command): void {
  const image = group(program, "image", "build", "What a VM has as one file, to bring it into the guest yourself.");
  if (!run.words.includes("image")) return;
  leaf(run, image, "build <vm>", "write what a VM has into an image", defineBuild, lazyBuild);
}

/** Loads what makes keys, which no other command here needs. */
const lazyBuild: Action<ImageFlags> = async (...all) => (await import("./image-build.ts")).buildImage(...all);

function defineBuild(command: Command): Command {
  return command
    .requiredOption("--format <format>", "erofs, squashfs, iso, tar, or sealed, which is a tar and never open")
    .requiredOption("--out <file>", "where to; made 0600, and never over another file; /dev/fd/N for an open one")
    .option("--label <label>", "the volume's name, of erofs and iso (HATCHWAY)")
    .optionsGroup("Sealing (an image on a disk is sealed; in memory, on a tmpfs, it may be open):")
    .option("--key <file>", "seal it to the key in this file; where there is none, make one there, 0600, on a tmpfs")
    .option("--recipient <age1…>", "seal it to this recipient of age")
    .option("--plain", "seal nothing, though it is on a disk")
    .description(
      "Writes all that a VM has, with modes and owners, into an image that needs no agent to be read. " +
        "Whoever can read the file can read the secrets. Each value that leaves has a line in the audit trail.",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway image build web-1 --format erofs --out /run/web-1.erofs",
        "hatchway image build web-1 --format sealed --key /run/web-1.key --out web-1.sealed",
      ),
    );
}
