#include "control/main/leader.h"

#include <google/protobuf/message.h>

#include <utility>

#include "api/base/log.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/coordination/v1/lease.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/api.h"

namespace sluice::control {

namespace {

using Lease = ::k8s::io::api::coordination::v1::Lease;
using Message = google::protobuf::Message;

constexpr std::string_view kComponent = "leader";
constexpr const char* kNamespace = "kube-system";

const codec::KindInfo& lease_kind() {
    const codec::KindInfo* kind = codec::find_resource("coordination.k8s.io", "v1", "leases");
    SLUICE_ASSERT(kind != nullptr);
    return *kind;
}

template <class Time>
void set_now(Time* time) {
    constexpr std::int64_t kNanosecond = 1'000'000'000;
    const auto now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count();
    time->set_seconds(now / kNanosecond);
    time->set_nanos(static_cast<std::int32_t>(now % kNanosecond / 1'000 * 1'000));
}

}  // namespace

Leader::Leader(registry::Api& api, std::string name, std::string identity, Start start)
    : api_(api),
      name_(std::move(name)),
      identity_(std::move(identity)),
      start_(std::move(start)),
      thread_([this] { run(); }) {}

Leader::~Leader() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
}

std::unique_ptr<Message> Leader::decide(const Message* existing, Attempt* attempt) const {
    const std::lock_guard lock(attempt->mutex);
    auto lease = std::make_unique<Lease>();
    if (existing == nullptr) {
        lease->mutable_metadata()->set_namespace_(kNamespace);
        lease->mutable_metadata()->set_name(name_);
    } else {
        lease->CopyFrom(*existing);
    }
    auto* spec = lease->mutable_spec();
    const std::string renewed = spec->renewtime().SerializeAsString();
    if (attempt->sight.holder != spec->holderidentity() || attempt->sight.renewed != renewed) {
        attempt->sight = {spec->holderidentity(), renewed, Clock::now()};
    }
    const bool mine = spec->holderidentity() == identity_;
    const bool expired = Clock::now() - attempt->sight.since > std::chrono::seconds(kLeaseSeconds);
    attempt->held = mine || spec->holderidentity().empty() || expired;
    if (!attempt->held) return nullptr;
    if (!mine) {
        if (existing != nullptr) spec->set_leasetransitions(spec->leasetransitions() + 1);
        spec->set_holderidentity(identity_);
        set_now(spec->mutable_acquiretime());
    }
    spec->set_leasedurationseconds(kLeaseSeconds);
    set_now(spec->mutable_renewtime());
    return lease;
}

bool Leader::renew() {
    const auto attempt = std::make_shared<Attempt>();
    attempt->sight = sight_;
    api_.amend(
        lease_kind(), kNamespace, name_,
        [this, attempt](const Message* existing) { return decide(existing, attempt.get()); },
        [attempt](const Result<void>& result) {
            const std::lock_guard lock(attempt->mutex);
            attempt->done = true;
            if (!result) attempt->failure = result.error().message;
            attempt->answered.notify_all();
        });
    // The answer comes, as the store answers within its request timeout, but it may come too late to go on leading.
    std::unique_lock lock(attempt->mutex);
    if (running_ != nullptr &&
        !attempt->answered.wait_until(lock, renewed_ + kRenewDeadline, [&] { return attempt->done; })) {
        lock.unlock();
        stop_leading();
        lock.lock();
    }
    attempt->answered.wait(lock, [&] { return attempt->done; });
    if (!attempt->failure.empty()) {
        log::warn(kComponent, "{}: {}", name_, attempt->failure);
        return false;
    }
    sight_ = attempt->sight;
    return attempt->held;
}

void Leader::give_up() {
    const auto attempt = std::make_shared<Attempt>();
    api_.amend(
        lease_kind(), kNamespace, name_,
        [identity = identity_](const Message* existing) -> std::unique_ptr<Message> {
            if (existing == nullptr) return nullptr;
            auto lease = std::make_unique<Lease>();
            lease->CopyFrom(*existing);
            if (lease->spec().holderidentity() != identity) return nullptr;
            lease->mutable_spec()->set_holderidentity("");
            lease->mutable_spec()->set_leasedurationseconds(1);
            return lease;
        },
        [attempt](const Result<void>&) {
            const std::lock_guard lock(attempt->mutex);
            attempt->done = true;
            attempt->answered.notify_all();
        });
    std::unique_lock lock(attempt->mutex);
    attempt->answered.wait_for(lock, kRetryPeriod, [&] { return attempt->done; });
}

void Leader::stop_leading() {
    if (running_ == nullptr) return;
    log::warn(kComponent, "{} does not lead here any more", name_);
    running_.reset();
}

void Leader::run() {
    while (true) {
        const auto before = Clock::now();
        const bool held = renew();
        if (held) renewed_ = before;
        if (held && running_ == nullptr && Clock::now() - renewed_ < kRenewDeadline) {
            log::info(kComponent, "{} leads here, as {}", name_, identity_);
            auto started = start_();
            if (started) {
                running_ = std::move(*started);
            } else {
                log::error(kComponent, "{} cannot be started: {}", name_, started.error().message);
            }
        }
        // Another holder has it, or nobody knows: it ends here before it may begin elsewhere.
        const bool lost = !held && sight_.holder != identity_;
        if (lost || Clock::now() - renewed_ > kRenewDeadline) stop_leading();
        std::unique_lock lock(mutex_);
        if (wake_.wait_for(lock, kRetryPeriod, [this] { return stopping_; })) break;
    }
    const bool led = running_ != nullptr;
    running_.reset();
    if (led) give_up();
}

}  // namespace sluice::control
