--[[
Slurm's job_submit plugin (slurm.conf: JobSubmitPlugins=lua; this file lies beside slurm.conf as job_submit.lua), for the scavenge partition.
Its jobs run in memory that other jobs have reserved and leave idle: they ask for the GRES slackmem, which caddisd keeps at what can be lent,
and for no memory of the node. It also tells users at submission what Caddis will not do for a job. A site that has a job_submit.lua of its own
calls caddis_submit, caddis_advice and caddis_modify from it.
--]]

-- The partition.
local SCAVENGE = "scavenge"
-- Batch jobs that name no partition, can be requeued, fit on one node and ask for no more than this go there too.
-- They must say how long they run (--time) and how much memory they need. minutes = 0: none of them do.
local SMALL = { memory_mb = 1024, cpus = 1, minutes = 0 }
-- What the partition takes at most; 0: what a node has. A larger job would wait for ever.
local LARGEST = { memory_mb = 0, cpus = 0 }

-- Slurm must be told of some memory: 0 would be the whole node.
local NOMINAL_MB = 1
-- NO_VAL64 and bits of it: what is above is no number of megabytes.
local NOT_SAID = 2 ^ 50

local function said(number)
	return number ~= nil and number < NOT_SAID
end

local function count(number, none)
	return number ~= nil and number < slurm.NO_VAL16 and number > 0 and number or none
end

local function cpus_of(job)
	return count(job.cpus_per_task, 1) * count(job.num_tasks, 1)
end

-- Megabytes on its one node, and in which words they were asked for; nil: not asked.
local function memory_of(job, part)
	if said(job.min_mem_per_node) then
		return job.min_mem_per_node, "--mem=" .. job.min_mem_per_node .. "M"
	end
	local per_cpu = job.min_mem_per_cpu
	if not said(per_cpu) and part then
		if said(part.def_mem_per_node) and part.def_mem_per_node > 0 then
			return part.def_mem_per_node, "DefMemPerNode=" .. part.def_mem_per_node .. "M"
		end
		per_cpu = part.def_mem_per_cpu
	end
	if not said(per_cpu) then
		return nil
	end
	local cpus = cpus_of(job)
	return per_cpu * cpus, "--mem-per-cpu=" .. per_cpu .. "M x " .. cpus
end

local function names(partitions, one)
	for name in string.gmatch(partitions or "", "[^,]+") do
		if name == one then
			return true
		end
	end
	return false
end

local function asks_for_slack(gres)
	return gres ~= nil and string.find("," .. gres .. ",", "[,:]slackmem[,:]") ~= nil
end

local function is_small(job, part)
	local minutes = job.time_limit
	local memory = memory_of(job, nil)
	return SMALL.minutes > 0
		and job.partition == nil
		and job.script ~= nil
		and job.requeue ~= 0
		and minutes ~= nil and minutes <= SMALL.minutes
		and memory ~= nil and memory > 0 and memory <= SMALL.memory_mb
		and cpus_of(job) <= SMALL.cpus
		and count(job.min_nodes, 1) == 1
		and job.tres_per_node == nil and job.tres_per_job == nil and job.tres_per_task == nil
		and part ~= nil
end

local function refuse(why)
	slurm.log_user("caddis: %s", why)
	return slurm.ERROR
end

-- What stands there of a site stays. In small letters: sacctmgr would change others when what the job used is added (docs/accounting.md).
local function note(comment, words)
	local kept = string.gsub(comment or "", "%s*%[caddis: [^%]]*%]", "")
	local gap = kept == "" and "" or " "
	return kept .. gap .. "[caddis: lent " .. string.lower(words) .. "]"
end

local function lend(job, memory, words, comment)
	memory = math.ceil(memory)
	job.tres_per_node = "gres:slackmem:" .. string.format("%d", memory)
	job.min_mem_per_node = NOMINAL_MB
	job.admin_comment = note(comment, words)
end

local function submit_to_scavenge(job, part)
	if job.partition ~= SCAVENGE then
		return refuse("partition " .. SCAVENGE .. " cannot be one of several: its jobs ask for memory in another way")
	end
	if job.script == nil then
		return refuse("partition " .. SCAVENGE .. " takes batch jobs only (sbatch): they may be sent back to the queue")
	end
	if job.requeue == 0 then
		return refuse("partition " .. SCAVENGE .. " takes no job with --no-requeue: it may be sent back to the queue")
	end
	if count(job.min_nodes, 1) > 1 then
		return refuse("partition " .. SCAVENGE .. " takes jobs on one node only")
	end
	if job.tres_per_node ~= nil or job.tres_per_job ~= nil or job.tres_per_task ~= nil then
		return refuse("partition " .. SCAVENGE .. " takes no job that asks for generic resources (--gres, --gpus)")
	end
	local memory, words = memory_of(job, part)
	if memory == nil or memory == 0 then
		return refuse("say how much memory the job needs: partition " .. SCAVENGE .. " takes --mem=SIZE")
	end
	if LARGEST.memory_mb > 0 and memory > LARGEST.memory_mb then
		return refuse("partition " .. SCAVENGE .. " takes at most --mem=" .. LARGEST.memory_mb .. "M")
	end
	if LARGEST.cpus > 0 and cpus_of(job) > LARGEST.cpus then
		return refuse("partition " .. SCAVENGE .. " takes at most " .. LARGEST.cpus .. " CPUs")
	end
	job.requeue = 1
	job.max_nodes = 1
	job.min_nodes = 1
	lend(job, memory, words, job.admin_comment)
	return slurm.SUCCESS
end

function caddis_submit(job, parts)
	local part = parts[SCAVENGE]
	if is_small(job, part) then
		job.partition = SCAVENGE
	end
	if names(job.partition, SCAVENGE) then
		return submit_to_scavenge(job, part)
	end
	if asks_for_slack(job.tres_per_node) then
		return refuse("slackmem is for jobs of partition " .. SCAVENGE .. ", which need not ask for it")
	end
	return slurm.SUCCESS
end

-- scontrol update: a lent job stays one, and its memory goes on being slack.
function caddis_modify(change, job, parts)
	local is_lent = job.partition == SCAVENGE
	local wanted = change.partition or job.partition
	if names(wanted, SCAVENGE) ~= is_lent or (is_lent and wanted ~= SCAVENGE) then
		return slurm.ERROR
	end
	if asks_for_slack(change.tres_per_node) or (is_lent and change.tres_per_node ~= nil) then
		return slurm.ERROR
	end
	-- It may be sent back at any time, and has one machine: as at its submission.
	if is_lent and (change.requeue == 0 or count(change.min_nodes, 1) > 1) then
		return slurm.ERROR
	end
	if is_lent and (said(change.min_mem_per_node) or said(change.min_mem_per_cpu)) then
		local memory, words = memory_of(change, nil)
		if memory == 0 then
			return slurm.ERROR
		end
		lend(change, memory, words, job.admin_comment)
	end
	return slurm.SUCCESS
end

-- What the user should know, or nil. Components of a heterogeneous job come one by one, and each has one node or more of its own.
function caddis_advice(job)
	local nodes = count(job.min_nodes, 1)
	if nodes <= 1 or job.script == nil or job.script == "" then
		return nil
	end
	return string.format("caddis: this job runs on %d nodes, whose machines cannot be saved as one: if it is requeued it starts afresh", nodes)
end

function slurm_job_submit(job, parts, submit_uid)
	local verdict = caddis_submit(job, parts)
	local advice = verdict == slurm.SUCCESS and caddis_advice(job)
	if advice then
		slurm.log_user("%s", advice)
	end
	return verdict
end

function slurm_job_modify(change, job, parts, modify_uid)
	return caddis_modify(change, job, parts)
end

return slurm.SUCCESS
