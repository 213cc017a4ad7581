"""Networks of FlowChroma: optical flow that remembers."""
