// Tells the API server what was decided: bindings, conditions of pods that fit nowhere, and events. Some threads of its
// own, so that a decision never waits for an answer.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "api/client/client.h"
#include "control/scheduler/model.h"

namespace sluice::scheduler {

inline constexpr int kWriterThreads = 4;
// Decisions that may wait to be written; with more, no further pod is decided about.
inline constexpr std::size_t kMaxPendingWrites = 1'000;
// Of a message in an Event, as Kubernetes has it; the condition has the whole.
inline constexpr std::size_t kMaxNoteBytes = 1'024;

struct BindFailure {
    PodPointer pod;
    bool retry = true;  // false: the pod is gone
};

class Writer {
public:
    virtual ~Writer() = default;
    // failed is called on a writer's thread. client outlives the writer.
    static std::unique_ptr<Writer> start(client::Client& client,
                                         std::function<void(BindFailure)> failed);

    virtual void bind(const PodPointer& pod, const std::string& node) = 0;
    // The condition PodScheduled=False, unless the pod has it already, and the event FailedScheduling.
    // reason: "Unschedulable" or "SchedulerError".
    virtual void refuse(const std::shared_ptr<const ::k8s::io::api::core::v1::Pod>& pod,
                        const std::string& reason, const std::string& message) = 0;
    [[nodiscard]] virtual std::size_t pending() const = 0;
};

// The strategic merge patch of pods/status that says so. since_seconds: of the condition's last change.
[[nodiscard]] std::string condition_patch(const std::string& uid, const std::string& reason,
                                          const std::string& message, std::int64_t since_seconds);
// At most kMaxNoteBytes, ending in " ..." if it was cut.
[[nodiscard]] std::string note_of(const std::string& message);

}  // namespace sluice::scheduler
