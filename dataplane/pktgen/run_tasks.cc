// Which tasks a run has, and which lcore does them.
#include <rte_cycles.h>
#include <rte_lcore.h>

#include "dataplane/pktgen/run_private.h"

namespace sluice::pktgen {

Run::Run(Ports& ports, const Profile& profile, const RunnerOptions& options, std::uint16_t run,
         std::vector<PortCounts> base)
    : ports_(ports),
      profile_(profile),
      options_(options),
      run_(run),
      warmup_run_(static_cast<std::uint16_t>(profile.warmup_s > 0 ? run + 1 : run)),
      base_(std::move(base)),
      hz_(static_cast<double>(rte_get_tsc_hz())) {
    const unsigned lcores = rte_lcore_count();
    works_.resize(lcores);
    for (Work& work : works_) {
        work.control = &control_;
    }
}

// One lcore does all; of two the other one sends; of more the main one only watches.
void Run::place(std::unique_ptr<Task> task, bool sends, unsigned number) {
    std::size_t at = 0;
    if (works_.size() == 2) {
        at = sends ? 1 : 0;
    } else if (works_.size() > 2) {
        at = sends ? 1 + number % ports_.senders() : 1 + ports_.senders() + number % ports_.receivers();
    }
    works_[at].tasks.push_back(task.get());
    tasks_.push_back(std::move(task));
}

Result<void> Run::prepare(const std::vector<Mac>& destinations, const std::vector<OwnedAddresses>& owned) {
    if (!profile_.pcap.empty()) {
        SLUICE_TRY_ASSIGN(capture_, load_capture(profile_.pcap, options_.max_frame_bytes));
    } else {
        flows_.emplace(profile_);
    }
    if (profile_.life_cycle == LifeCycle::kStateful) {
        return prepare_stateful(destinations, owned);
    }
    return prepare_flows(destinations, owned);
}

Result<void> Run::prepare_flows(const std::vector<Mac>& destinations,
                                const std::vector<OwnedAddresses>& owned) {
    unsigned senders = 0;
    unsigned readers = 0;
    for (const Port& port : ports_.all()) {
        senders += port.sends() ? port.send_queues : 0U;
        readers += port.receives() ? port.receive_queues : 0U;
    }
    const bool probes = flows_ && profile_.probe && profile_.life_cycle != LifeCycle::kSynOnly;
    if (probes) {
        SLUICE_TRY_ASSIGN(windows_, Windows::make(flows_->count() * senders, readers > 1));
    }
    unsigned sender = 0;
    unsigned reader = 0;
    for (std::size_t i = 0; i < ports_.all().size(); ++i) {
        Port& port = ports_.all()[i];
        for (std::uint16_t queue = 0; port.sends() && queue < port.send_queues; ++queue) {
            const SendPlan plan{&port,   queue, ports_.pool(),  sender,
                                senders, run_,  warmup_run_, destinations[i]};
            const SendCounts* counts = nullptr;
            auto task = flows_ ? make_flow_sender(plan, profile_, *flows_, counts)
                               : make_capture_sender(plan, profile_, *capture_, counts);
            senders_.push_back(counts);
            place(std::move(task), true, sender++);
        }
        // Ports that only send are read too: neighbours ask there.
        for (std::uint16_t queue = 0; queue < port.receive_queues; ++queue) {
            ReadPlan plan{&port, queue, ports_.pool(), owned[i], {}, windows_ ? &*windows_ : nullptr};
            plan.receive = {run_,         warmup_run_,         capture_.has_value(),
                            profile_.l4, profile_.life_cycle, 1e9 / hz_};
            const Receiver* receiver = nullptr;
            auto task = make_reader(plan, receiver);
            receivers_.push_back(receiver);
            place(std::move(task), false, reader++);
        }
    }
    return {};
}

Result<void> Run::prepare_stateful(const std::vector<Mac>& destinations,
                                   const std::vector<OwnedAddresses>& owned) {
    unsigned clients = 0;
    for (const Port& port : ports_.all()) {
        clients += port.sends() ? 1U : 0U;
    }
    if (flows_->count() < clients) {
        return make_error(Code::kInvalidArgument, "profile: flows: {} for {} ports that open connections",
                          flows_->count(), clients);
    }
    unsigned client = 0;
    for (std::size_t i = 0; i < ports_.all().size(); ++i) {
        Port& port = ports_.all()[i];
        StatefulPlan plan;
        plan.send = {&port, 0, ports_.pool(), client, clients, run_, warmup_run_, destinations[i]};
        plan.owned = owned[i];
        plan.client = port.sends();
        plan.server = port.receives();
        if (plan.client) {
            plan.first_flow = flows_->count() * client / clients;
            plan.flows = flows_->count() * (client + 1) / clients - plan.first_flow;
            plan.connections_per_second = profile_.connections_per_second / clients;
            plan.connections = profile_.count / clients + (client < profile_.count % clients ? 1 : 0);
            ++client;
        }
        StatefulView view;
        SLUICE_TRY_ASSIGN(auto task, make_stateful(plan, profile_, *flows_, view));
        stateful_.push_back(view);
        place(std::move(task), plan.client, static_cast<unsigned>(i));
    }
    return {};
}

}  // namespace sluice::pktgen
