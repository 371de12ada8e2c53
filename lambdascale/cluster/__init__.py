"""The serverless system: controller, agents, pipelines, routing, mode switch."""
