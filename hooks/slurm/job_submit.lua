--[[
job_submit.lua (JobSubmitPlugins=lua; beside slurm.conf, on the controller): tells a user at submission what Caddis will not do for the job.
A site that has a script of its own calls caddis_advice from it.
]]

-- The text for this job, or nil. Components of a heterogeneous job come one by one, and each has one node or more of its own.
function caddis_advice(job)
	local nodes = job.min_nodes
	if nodes == nil or nodes == slurm.NO_VAL or nodes <= 1 or job.script == nil or job.script == "" then
		return nil
	end
	return string.format("caddis: this job runs on %d nodes, whose machines cannot be saved as one: if it is requeued it starts afresh", nodes)
end

function slurm_job_submit(job, partitions, uid)
	local text = caddis_advice(job)
	if text then
		slurm.log_user("%s", text)
	end
	return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
	return slurm.SUCCESS
end
