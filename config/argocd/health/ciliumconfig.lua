-- SPDX-License-Identifier: Apache-2.0
-- Copyright Authors of Ciliate

-- A configuration that contradicts itself, or numbers running out, need a person; so do agents that need a restart.
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

local valid = condition("Valid")
local numbers = condition("IdentitiesAvailable")
local applied = condition("Applied")
if valid == nil or valid.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "the operator has not looked at it yet" }
end
if valid.status == "False" then
  return { status = "Degraded", message = valid.message }
end
if numbers ~= nil and numbers.status == "False" then
  return { status = "Degraded", message = numbers.message }
end
if applied == nil then
  return { status = "Progressing", message = "no agent runs it yet" }
end
if applied.status ~= "True" then
  return { status = applied.reason == "RestartRequired" and "Suspended" or "Progressing", message = applied.message }
end
return { status = "Healthy", message = applied.message }
