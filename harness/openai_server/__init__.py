"""An OpenAI-compatible face before endpoints of ours: HTTP on one side, gRPC on the other."""
