import { test } from "vitest";
import { aboutProblem, mergeAbout } from "#about";

test("a change leaves what it does not name, and null takes away", ({ expect }) => {
  const before = mergeAbout({}, { description: "the database", labels: { team: "web", env: "prod" }, default: true });
  expect(before).toEqual({ description: "the database", labels: { env: "prod", team: "web" }, default: true });
  expect(mergeAbout(before, {})).toEqual(before);
  expect(mergeAbout(before, { labels: { team: null } })).toEqual({ ...before, labels: { env: "prod" } });
  expect(mergeAbout(before, { description: null, labels: { team: null, env: null }, default: false })).toEqual({});
});

test.for([
  [{ description: "" }, "the description is not a description"],
  [{ description: "a\nb" }, "the description is not a description"],
  [{ labels: { "": "x" } }, 'label "=x" is not a label\'s name'],
  [{ labels: { "a b": "x" } }, "is not a label's name"],
  [{ labels: { a: "é" } }, "is not a label's value"],
  [{ labels: { a: " x" } }, "is not a label's value"],
  [{ labels: Object.fromEntries(Array.from({ length: 33 }, (_, at) => [`l${at}`, ""])) }, "33 labels"],
] as const)("%j is refused", ([about, problem], { expect }) => {
  expect(aboutProblem(about)).toContain(problem);
});

test("labels may be empty, have spaces inside, and slashes in their names", ({ expect }) => {
  expect(
    aboutProblem({ labels: { "example.org/team": "web and api", empty: "" }, description: "é – 語" }),
  ).toBeUndefined();
});
