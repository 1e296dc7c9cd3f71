/* Shows this server's OpenAPI document, without sending it to an external validator. */
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  showExtensions: true,
  validatorUrl: "none",
});
