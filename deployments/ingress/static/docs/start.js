/* Shows this server's own description, and asks nobody whether it is valid. */
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  showExtensions: true,
  validatorUrl: "none",
});
