// What is looked at in a rhythm: disk that pods use, the classes' shares of CPU, events that were missed, images.
#include <condition_variable>
#include <mutex>
#include <utility>

#include "api/base/log.h"
#include "control/kubelet/pods/manager.h"
#include "control/kubelet/pods/resources.h"

namespace sluice::kubelet {

void Manager::keep_house(const std::stop_token& stop) {
    using Clock = std::chrono::steady_clock;
    std::mutex mutex;
    std::condition_variable_any never;
    auto resync_due = Clock::now() + kResync;
    auto images_due = Clock::now() + kImageGcEvery;
    while (true) {
        {
            std::unique_lock lock(mutex);
            never.wait_for(lock, stop, kHouseEvery, [] { return false; });
        }
        if (stop.stop_requested()) return;
        evict_full();
        share_cpu();
        if (Clock::now() >= resync_due) {
            for (const auto& entry : entries()) queue_.add(entry->uid);
            remove_orphans();
            resync_due = Clock::now() + kResync;
        }
        if (Clock::now() >= images_due) {
            collect_images();
            images_due = Clock::now() + kImageGcEvery;
        }
    }
}

void Manager::evict_full() {
    for (const auto& entry : entries()) {
        PodPointer pod;
        {
            const std::lock_guard lock(entry->mutex);
            if (!entry->volumes_ready || entry->terminating) continue;
            pod = entry->pod;
        }
        const auto message = volumes_->exceeded_limit(*pod);
        if (!message) {
            log::warn("kubelet", "pod {}: {}", pod_text(*pod), message.error().message);
        } else if (*message) {
            machine_->evict(*entry, **message);
            queue_.add(entry->uid);
        }
    }
}

void Manager::share_cpu() {
    std::int64_t milli = 0;
    for (const auto& entry : entries()) {
        const std::lock_guard lock(entry->mutex);
        if (!entry->admitted || entry->stopped || qos_class(*entry->pod) != "Burstable") continue;
        milli += amounts_of(*entry->pod).requests.cpu_milli;
    }
    if (milli == burstable_milli_) return;
    if (const auto done = cgroups_.set_burstable_cpu(milli); !done) {
        log::warn("kubelet", "{}", done.error().message);
        return;
    }
    burstable_milli_ = milli;
}

void Manager::collect_images() {
    std::vector<std::string> used;
    const auto containers = cri_.list_containers();
    // Without knowing what is used, nothing is removed.
    if (!containers) return;
    for (const auto& container : *containers) {
        used.push_back(container.image().image());
        used.push_back(container.image_ref());
    }
    for (const auto& entry : entries()) {
        const std::lock_guard lock(entry->mutex);
        for (const auto& container : entry->pod->spec().containers()) {
            if (const auto name = normal_image_name(container.image())) used.push_back(*name);
        }
    }
    images_->collect_garbage(used);
}

}  // namespace sluice::kubelet
