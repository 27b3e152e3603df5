#include "control/kubelet/pods/images.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <set>
#include <utility>

#include "api/base/log.h"
#include "api/kubernetes/core/v1/secret.pb.h"

namespace sluice::kubelet {

namespace {

std::string pull_key(const corev1::Pod& pod, const corev1::Container& container) {
    return pod.metadata().uid() + "/" + container.name() + "/" + container.image();
}

ImageVerdict failed(std::string reason, std::string message, bool tell) {
    ImageVerdict verdict;
    verdict.kind = ImageVerdict::Kind::kFailed;
    verdict.reason = std::move(reason);
    verdict.message = std::move(message);
    verdict.tell = tell;
    return verdict;
}

std::string seconds_text(std::int64_t milliseconds) {
    if (milliseconds < 1'000) return fmt::format("{}ms", milliseconds);
    return fmt::format("{:.3f}s", static_cast<double>(milliseconds) / 1'000.0);
}

}  // namespace

Images::Images(Cri& cri, ObjectSource& objects, Tasks& tasks, std::function<std::int64_t()> now_ms)
    : cri_(cri), objects_(objects), tasks_(tasks), now_ms_(std::move(now_ms)) {}

Images::~Images() { stop_.request_stop(); }

ImageVerdict Images::ensure(const corev1::Pod& pod, const corev1::Container& container,
                            const ImageEvent& event, std::function<void()> wake) {
    const auto& image = container.image();
    const auto key = pull_key(pod, container);
    const auto now = now_ms_();
    const auto name = normal_image_name(image);
    if (!name) {
        const std::lock_guard lock(mutex_);
        auto& state = pulls_[key];
        return failed("InvalidImageName",
                      fmt::format("Failed to apply default image tag \"{}\": couldn't parse image "
                                  "name \"{}\": {}",
                                  image, image, name.error().message),
                      !std::exchange(state.told, true));
    }
    const auto policy = pull_policy(container);
    bool done = false;
    {
        const std::lock_guard lock(mutex_);
        if (pulls_.size() > kMaxKnownImages) {
            std::erase_if(pulls_, [](const auto& pull) { return !pull.second.running; });
        }
        auto& state = pulls_[key];
        if (state.running) return {};
        done = std::exchange(state.done, false);
    }
    if (done || policy != "Always") {
        auto status = cri_.image_status(*name);
        if (status) {
            const std::lock_guard lock(mutex_);
            last_used_ms_[status->id()] = now;
            pulls_[key].told = false;
            ImageVerdict verdict;
            verdict.kind = ImageVerdict::Kind::kReady;
            verdict.image = std::move(*status);
            verdict.pulled = done;
            return verdict;
        }
        if (status.error().code != Code::kNotFound) {
            return failed("ImageInspectError",
                          fmt::format("Failed to inspect image \"{}\": {}", image,
                                      rpc_text(status.error())),
                          true);
        }
        if (policy == "Never") {
            const std::lock_guard lock(mutex_);
            return failed("ErrImageNeverPull",
                          fmt::format("Container image \"{}\" is not present with pull policy of "
                                      "Never",
                                      image),
                          !std::exchange(pulls_[key].told, true));
        }
    }
    {
        const std::lock_guard lock(mutex_);
        auto& state = pulls_[key];
        if (!state.reason.empty()) {
            const auto until = state.backoff.wait_until(now, state.failed_at_ms);
            const auto shown = state.failed_at_ms + kPullErrorShownMs;
            if (now < shown) {
                auto verdict = failed(state.reason, state.message, !std::exchange(state.told, true));
                verdict.again_at_ms = shown;
                return verdict;
            }
            if (until > now) {
                auto verdict = failed("ImagePullBackOff",
                                      fmt::format("Back-off pulling image \"{}\"", image), true);
                verdict.again_at_ms = until;
                return verdict;
            }
        }
        state.running = true;
        state.told = false;
        state.backoff.next(now, state.failed_at_ms == 0 ? now : state.failed_at_ms);
    }
    criv1::PullImageRequest request;
    request.mutable_image()->set_image(*name);
    std::vector<criv1::AuthConfig> auths;
    for (const auto& reference : pod.spec().imagepullsecrets()) {
        const auto secret = objects_.secret(pod.metadata().namespace_(), reference.name());
        if (!secret) {
            event(true, "FailedToRetrieveImagePullSecret",
                  fmt::format("Unable to retrieve some image pull secrets ({}); attempting to pull "
                              "the image may not succeed.",
                              reference.name()));
            continue;
        }
        auto found = credentials_of(**secret, *name);
        if (!found) {
            log::warn("kubelet", "pod {}: {}", pod_text(pod), found.error().message);
            continue;
        }
        std::move(found->begin(), found->end(), std::back_inserter(auths));
    }
    event(false, "Pulling", fmt::format("Pulling image \"{}\"", image));
    auto work = [this, key, request, auths, image, event, wake = std::move(wake)] {
        pull(key, request, auths, image, event, wake);
    };
    const std::lock_guard lock(mutex_);
    if (running_ < kMaxParallelPulls) {
        ++running_;
        tasks_.run(std::move(work));
    } else {
        queued_.push_back(std::move(work));
    }
    return {};
}

void Images::pull(const std::string& key, const criv1::PullImageRequest& request,
                  const std::vector<criv1::AuthConfig>& auths, const std::string& image,
                  const ImageEvent& event, const std::function<void()>& wake) {
    const auto begun = now_ms_();
    Result<std::string> result = make_error(Code::kUnknown, "the image was not pulled");
    if (auths.empty()) result = cri_.pull_image(request, stop_.get_token());
    for (const auto& auth : auths) {
        auto with = request;
        *with.mutable_auth() = auth;
        result = cri_.pull_image(with, stop_.get_token());
        if (result) break;
    }
    const auto now = now_ms_();
    if (result) {
        const auto took = seconds_text(now - begun);
        const auto status = cri_.image_status(*result);
        event(false, "Pulled",
              fmt::format("Successfully pulled image \"{}\" in {} ({} including waiting). Image "
                          "size: {} bytes.",
                          image, took, took, status ? status->size() : 0));
    } else {
        event(true, "Failed",
              fmt::format("Failed to pull image \"{}\": {}", image, rpc_text(result.error())));
    }
    {
        const std::lock_guard lock(mutex_);
        auto& state = pulls_[key];
        state.running = false;
        state.done = result.has_value();
        state.reason = result ? "" : "ErrImagePull";
        state.message = result ? "" : rpc_text(result.error());
        state.failed_at_ms = result ? 0 : now;
        if (result) state.backoff.reset();
        if (!queued_.empty()) {
            tasks_.run(std::move(queued_.front()));
            queued_.pop_front();
        } else {
            --running_;
        }
    }
    wake();
}

void Images::forget_pod(const std::string& uid) {
    const std::lock_guard lock(mutex_);
    std::erase_if(pulls_, [&](const auto& pull) {
        return pull.first.starts_with(uid + "/") && !pull.second.running;
    });
}

void Images::collect_garbage(const std::vector<std::string>& in_use) {
    const auto info = cri_.image_fs_info();
    if (!info || info->image_filesystems_size() == 0) return;
    const auto& mount = info->image_filesystems(0).fs_id().mountpoint();
    struct statvfs disk{};
    if (::statvfs(mount.c_str(), &disk) != 0 || disk.f_blocks == 0) return;
    const auto total = static_cast<std::uint64_t>(disk.f_blocks) * disk.f_frsize;
    const auto free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
    const auto used_percent = static_cast<int>(100 - free * 100 / total);
    if (used_percent < kImageGcHighPercent) return;
    const auto wanted = total * (100 - kImageGcLowPercent) / 100;
    auto to_free = wanted > free ? wanted - free : 0;
    auto images = cri_.list_images();
    if (!images) return;
    const std::set<std::string> used(in_use.begin(), in_use.end());
    const auto now = now_ms_();
    std::vector<std::pair<std::int64_t, const criv1::Image*>> candidates;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& image : *images) {
            const auto named = [&](const std::string& name) { return used.contains(name); };
            // Seen for the first time: it counts as used now, so that it lives for a while.
            const auto last = last_used_ms_.try_emplace(image.id(), now).first->second;
            if (image.pinned() || named(image.id()) ||
                std::any_of(image.repo_tags().begin(), image.repo_tags().end(), named) ||
                std::any_of(image.repo_digests().begin(), image.repo_digests().end(), named) ||
                now - last < kImageGcMinAgeMs) {
                continue;
            }
            candidates.emplace_back(last, &image);
        }
    }
    std::sort(candidates.begin(), candidates.end(),
              [](const auto& left, const auto& right) { return left.first < right.first; });
    for (const auto& [last, image] : candidates) {
        if (to_free == 0) break;
        if (!cri_.remove_image(image->id())) continue;
        log::info("kubelet", "removed image {} of {} bytes: the disk of {} was {}% full",
                  image->id(), image->size(), mount, used_percent);
        to_free -= std::min<std::uint64_t>(to_free, image->size());
        const std::lock_guard lock(mutex_);
        last_used_ms_.erase(image->id());
    }
}

}  // namespace sluice::kubelet
