// Images for containers: present or not, pulled by policy, with back-off and the credentials of
// imagePullSecrets; and taken away again when the disk fills.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "control/kubelet/cri/cri.h"
#include "control/kubelet/objects.h"
#include "control/kubelet/pods/tasks.h"
#include "control/kubelet/pods/types.h"

namespace sluice::kubelet {

// Pulls at a time; each uses the runtime's disk and network fully.
inline constexpr int kMaxParallelPulls = 5;
// ErrImagePull is shown for this long before it becomes ImagePullBackOff.
inline constexpr std::int64_t kPullErrorShownMs = 2'000;
// Disk use at which images are removed, and to which, in percent: kubelet's.
inline constexpr int kImageGcHighPercent = 85;
inline constexpr int kImageGcLowPercent = 80;
inline constexpr std::int64_t kImageGcMinAgeMs = 120'000;
// Names remembered for back-off and of images that are used.
inline constexpr std::size_t kMaxKnownImages = 10'000;

struct ImageVerdict {
    enum class Kind { kReady, kPulling, kFailed };
    Kind kind = Kind::kPulling;
    criv1::Image image;           // kReady
    bool pulled = false;          // kReady: by this pod, of which an event was told
    std::string reason, message;  // kFailed
    std::int64_t again_at_ms = 0;  // kFailed: when to ask again; 0: at the usual resync
    bool tell = false;             // kFailed: the event has not been told yet
};

// What a pull tells: reason and message of an event.
using ImageEvent = std::function<void(bool warning, const std::string& reason,
                                      const std::string& message)>;

class Images {
public:
    Images(Cri& cri, ObjectSource& objects, Tasks& tasks, std::function<std::int64_t()> now_ms);
    ~Images();

    // Where the container's image stands; begins a pull when one is due. wake is called when the pull is over.
    ImageVerdict ensure(const corev1::Pod& pod, const corev1::Container& container,
                        const ImageEvent& event, std::function<void()> wake);
    void forget_pod(const std::string& uid);
    // Removes images that nobody uses, oldest use first, while the disk is too full. in_use: ids and names.
    void collect_garbage(const std::vector<std::string>& in_use);

private:
    struct Pull {
        bool running = false;
        bool done = false;  // pulled once for this container's image; Always asks anew for each life
        std::string reason, message;
        std::int64_t failed_at_ms = 0;
        bool told = false;
        Backoff backoff;
    };
    void pull(const std::string& key, const criv1::PullImageRequest& request,
              const std::vector<criv1::AuthConfig>& auths, const std::string& image,
              const ImageEvent& event, const std::function<void()>& wake);

    Cri& cri_;
    ObjectSource& objects_;
    Tasks& tasks_;
    std::function<std::int64_t()> now_ms_;
    std::mutex mutex_;
    std::map<std::string, Pull> pulls_;  // by pod uid + "/" + container + "/" + image
    std::map<std::string, std::int64_t> last_used_ms_;  // by image id
    int running_ = 0;
    std::deque<std::function<void()>> queued_;
    std::stop_source stop_;
};

// "web:1" is "docker.io/library/web:1"; kInvalidArgument for what is no reference.
Result<std::string> normal_image_name(const std::string& image);
// "IfNotPresent" and so on, where the API server set no default.
[[nodiscard]] std::string pull_policy(const corev1::Container& container);
// The credentials for the image in a Secret of type kubernetes.io/dockerconfigjson or dockercfg.
Result<std::vector<criv1::AuthConfig>> credentials_of(const corev1::Secret& secret,
                                                      const std::string& normal_name);

}  // namespace sluice::kubelet
