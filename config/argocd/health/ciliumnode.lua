-- SPDX-License-Identifier: Apache-2.0
-- Copyright Authors of Ciliate

-- Without a pool or with an agent that cannot serve, new pods of the node wait.
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

local pool = condition("PoolAssigned")
local ready = condition("Ready")
if pool == nil then
  return { status = "Progressing", message = "no pod CIDR yet" }
end
if pool.status == "False" then
  return { status = "Degraded", message = pool.message }
end
if ready == nil then
  return { status = "Progressing", message = "no agent has reported yet" }
end
if ready.status == "True" then
  return { status = "Healthy", message = ready.message }
end
if string.sub(ready.reason, 1, 10) == "WaitingFor" then
  return { status = "Progressing", message = ready.message }
end
return { status = "Degraded", message = ready.message }
