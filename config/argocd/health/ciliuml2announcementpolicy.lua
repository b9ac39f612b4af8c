-- SPDX-License-Identifier: Apache-2.0
-- Copyright Authors of Ciliate

-- A policy that makes no sense announces nothing.
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, c in ipairs(obj.status.conditions) do
    if c.type == "Valid" and c.observedGeneration == obj.metadata.generation then
      return { status = c.status == "True" and "Healthy" or "Degraded", message = c.message }
    end
  end
end
return { status = "Progressing", message = "the operator has not looked at it yet" }
