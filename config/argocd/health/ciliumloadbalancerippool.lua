-- SPDX-License-Identifier: Apache-2.0
-- Copyright Authors of Ciliate

-- A pool that gives nothing, though it should, leaves Services without addresses.
-- condition finds one by its type, as of this generation; nil where there is none.
local function condition(kind)
  if obj.status ~= nil and obj.status.conditions ~= nil then
    for _, c in ipairs(obj.status.conditions) do
      if c.type == kind and c.observedGeneration == obj.metadata.generation then
        return c
      end
    end
  end
end

local valid = condition("Valid")
if valid == nil then
  return { status = "Progressing", message = "the operator has not looked at it yet" }
end
if valid.status == "False" then
  return { status = "Degraded", message = valid.message }
end
for _, kind in ipairs({ "Conflicting", "Exhausted" }) do
  local c = condition(kind)
  if c ~= nil and c.status == "True" then
    return { status = "Degraded", message = c.message }
  end
end
if obj.spec ~= nil and obj.spec.disabled then
  return { status = "Suspended", message = "disabled: Services keep what they have" }
end
return { status = "Healthy", message = "addresses are free" }
