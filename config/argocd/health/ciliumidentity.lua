-- SPDX-License-Identifier: Apache-2.0
-- Copyright Authors of Ciliate

-- A retired identity only waits for its end.
if obj.status ~= nil and obj.status.retiredAt ~= nil then
  return { status = "Suspended", message = "retired since " .. obj.status.retiredAt .. ": no pod has these labels" }
end
return { status = "Healthy", message = "in use" }
