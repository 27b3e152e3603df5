#include "control/kubelet/pods/status_writer.h"

#include <google/protobuf/util/message_differencer.h>

#include <cstdlib>
#include <utility>

#include "api/base/log.h"
#include "api/codec/scheme.h"
#include "control/kubelet/pods/status.h"

namespace sluice::kubelet {

namespace {

const codec::KindInfo& pod_kind() {
    static const auto* kind = codec::find_kind({"", "v1", "Pod"});
    SLUICE_ASSERT(kind != nullptr);
    return *kind;
}

using google::protobuf::util::MessageDifferencer;

bool newer(const std::string& left, const std::string& right) {
    return std::strtoull(left.c_str(), nullptr, 10) > std::strtoull(right.c_str(), nullptr, 10);
}

Error error_of(const client::ApiError& error) { return {error.code, error.message, error.sys_errno}; }

}  // namespace

StatusWriter::StatusWriter(client::Client& client, const NodeSettings& node,
                           std::function<std::shared_ptr<PodEntry>(const std::string& uid)> find,
                           std::function<std::int64_t()> now_ms)
    : client_(client), node_(node), find_(std::move(find)), now_ms_(std::move(now_ms)),
      queue_(std::chrono::milliseconds(50), std::chrono::milliseconds(10'000)) {
    for (int thread = 0; thread < kStatusWriters; ++thread) {
        threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
    }
}

StatusWriter::~StatusWriter() = default;

void StatusWriter::work(const std::stop_token& stop) {
    while (const auto uid = queue_.get(stop)) {
        const auto entry = find_(*uid);
        Result<void> done;
        if (entry) done = write(*entry);
        if (done) {
            queue_.forget(*uid);
        } else {
            log::warn("kubelet", "status of pod {}: {}", *uid, done.error().message);
            queue_.add_rate_limited(*uid);
        }
        queue_.done(*uid);
    }
}

Result<void> StatusWriter::write(PodEntry& entry) {
    std::shared_ptr<const corev1::Pod> fresh;
    for (int attempt = 0; attempt < kMaxConflicts; ++attempt) {
        corev1::Pod object;
        {
            const std::lock_guard lock(entry.mutex);
            if (entry.gone) return {};
            object = fresh ? *fresh : *entry.pod;
            if (!fresh && entry.written &&
                newer(entry.written_version, object.metadata().resourceversion())) {
                object.mutable_metadata()->set_resourceversion(entry.written_version);
                *object.mutable_status() = *entry.written;
            }
            auto status = make_status(entry, node_, object.status(), now_ms_());
            // The server writes fields that are empty here, and the other way round.
            if (MessageDifferencer::Equivalent(status, object.status())) return {};
            *object.mutable_status() = std::move(status);
        }
        auto stored = client_.update(pod_kind(), object, "status");
        if (stored) {
            const auto& pod = static_cast<const corev1::Pod&>(**stored);
            const std::lock_guard lock(entry.mutex);
            entry.written = std::make_shared<const corev1::PodStatus>(pod.status());
            entry.written_version = pod.metadata().resourceversion();
            return {};
        }
        if (stored.error().http_status == 404) return {};
        if (stored.error().http_status != 409) return error_of(stored.error());
        auto now = client_.get(pod_kind(), object.metadata().namespace_(), object.metadata().name());
        if (!now) return now.error().http_status == 404 ? Result<void>() : error_of(now.error());
        fresh = std::make_shared<const corev1::Pod>(
            static_cast<const corev1::Pod&>(**now));
        // Another pod of the same name has its own status.
        if (fresh->metadata().uid() != entry.uid) return {};
    }
    return make_error(Code::kAborted, "the object was changed {} times while its status was written",
                      kMaxConflicts);
}

Result<void> StatusWriter::finish(PodEntry& entry, bool remove) {
    SLUICE_TRY(write(entry));
    PodPointer pod;
    {
        const std::lock_guard lock(entry.mutex);
        if (entry.gone || !remove) return {};
        pod = entry.pod;
    }
    client::DeleteRequest request;
    request.grace_seconds = 0;
    request.uid = entry.uid;
    const auto done = client_.remove(pod_kind(), pod->metadata().namespace_(),
                                     pod->metadata().name(), request);
    // 409: another pod has taken the name.
    if (done || done.error().http_status == 404 || done.error().http_status == 409) return {};
    return error_of(done.error());
}

}  // namespace sluice::kubelet
