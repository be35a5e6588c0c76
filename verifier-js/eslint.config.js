import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist/", "node_modules/"] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { project: "./tsconfig.json" } },
    rules: {
      eqeqeq: "error",
      // Numbers and bigints in messages are what messages are for.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allow: [{ name: "bigint", from: "lib" }] }],
      // `a[i]!` where the loop's bound proves it: the checked form costs time in the engine's inner loops.
      "@typescript-eslint/no-non-null-assertion": "off",
    },
  },
  { files: ["**/*.js", "**/*.mjs"], extends: [tseslint.configs.disableTypeChecked] },
  // node:test answers promises that nobody has to wait for.
  { files: ["tests/**"], rules: { "@typescript-eslint/no-floating-promises": "off" } },
  // The engine knows nothing of bundles, Node or the page: who audits the proof system reads src/engine/ alone.
  {
    files: ["src/engine/**"],
    rules: { "no-restricted-imports": ["error", { patterns: ["../*", "node:*"] }] },
  },
  { files: ["src/evidence/**"], rules: { "no-restricted-imports": ["error", { patterns: ["../node/*", "../page/*", "node:*"] }] } },
);
