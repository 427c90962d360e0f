// What scripts/clients asks of hey-api: code that Node loads as it stands.
export default {
  input: "openapi.json",
  output: { path: "generated/hey-api", module: { extension: ".js" } },
  plugins: ["@hey-api/client-fetch", "@hey-api/typescript", "@hey-api/sdk"],
};
