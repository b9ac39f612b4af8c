-- SPDX-License-Identifier: Apache-2.0
-- Copyright Authors of Ciliate

-- Waiting passes by itself; every other reason for not being ready does not.
-- condition finds one by its type; nil where there is none.
local function condition(kind)
  if obj.status ~= nil and obj.status.conditions ~= nil then
    for _, c in ipairs(obj.status.conditions) do
      if c.type == kind then
        return c
      end
    end
  end
end

local untrusted = condition("Untrusted")
local ready = condition("Ready")
if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "being deleted" }
end
if untrusted ~= nil and untrusted.status == "True" then
  return { status = "Degraded", message = untrusted.message }
end
if ready == nil then
  return { status = "Progressing", message = "no agent has seen it yet" }
end
if ready.status == "True" then
  return { status = "Healthy", message = ready.message }
end
if string.sub(ready.reason, 1, 10) == "WaitingFor" or ready.reason == "PreviousInstance" then
  return { status = "Progressing", message = ready.message }
end
return { status = "Degraded", message = ready.message }
