// See volumes.h. On disk, as kubelet has it:
//
//   ROOT/pods/UID/volumes/kubernetes.io~KIND/NAME            a volume
//   ROOT/pods/UID/volume-subpaths/NAME/CONTAINER/INDEX       a subPath, bound here so that the runtime mounts what was
//                                                            checked and not what its name leads to by then
#include "control/kubelet/volumes/volumes.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>

#include "api/base/log.h"
#include "api/codec/quantity.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/kubelet/volumes/files_private.h"
#include "control/kubelet/volumes/host_path_private.h"
#include "control/kubelet/volumes/payload_private.h"
#include "control/kubelet/volumes/sub_path_private.h"

namespace sluice::kubelet {
namespace {

namespace fs = std::filesystem;

// Of a tmpfs for API objects: the old files, the new ones and their pages' rounding.
constexpr std::size_t kProjectedTmpfsBytes = 3 * kMaxProjectedBytes;
constexpr std::uint32_t kEmptyDirMode = 0777;

// The name under which a volume's source is known, "configMap"; the member that is set.
std::string source_name(const corev1::VolumeSource& source) {
    std::vector<const google::protobuf::FieldDescriptor*> fields;
    source.GetReflection()->ListFields(source, &fields);
    return fields.empty() ? "" : fields.front()->name();
}

std::string folder_of(const corev1::VolumeSource& source) {
    if (source.has_emptydir()) return "kubernetes.io~empty-dir";
    if (source.has_configmap()) return "kubernetes.io~configmap";
    if (source.has_secret()) return "kubernetes.io~secret";
    if (source.has_downwardapi()) return "kubernetes.io~downward-api";
    return "kubernetes.io~projected";
}

// An emptyDir is what a volume without any source is.
bool is_empty_dir(const corev1::VolumeSource& source) {
    return source.has_emptydir() || source_name(source).empty();
}

std::optional<std::int64_t> group_of(const corev1::Pod& pod) {
    const auto& context = pod.spec().securitycontext();
    if (!context.has_fsgroup()) return std::nullopt;
    return context.fsgroup();
}

// Names come from the API server, which has checked them; they become paths here.
Result<void> check_name(const std::string& name, std::string_view what) {
    SLUICE_TRY(check_relative(name, what));
    if (name.find('/') != std::string::npos || name == ".") {
        return make_error(Code::kInvalidArgument, "{} \"{}\" is no name", what, name);
    }
    return {};
}

// Bytes that all containers together may use, when each has a limit; 0 when not.
std::int64_t memory_limit(const corev1::Pod& pod) {
    std::int64_t sum = 0;
    for (const auto& container : pod.spec().containers()) {
        const auto limit = container.resources().limits().find("memory");
        if (limit == container.resources().limits().end()) return 0;
        const auto quantity = codec::Quantity::parse(limit->second.string());
        if (!quantity) return 0;
        sum += quantity->units();
    }
    return sum;
}

class PodVolumes final : public Volumes {
public:
    PodVolumes(std::string root, ObjectSource& objects,
               std::function<PodFacts(const corev1::Pod&)> facts)
        : root_(std::move(root)), objects_(objects), facts_(std::move(facts)) {}

    Result<void> set_up(const corev1::Pod& pod) override {
        SLUICE_TRY(check_name(pod.metadata().uid(), "metadata.uid"));
        return for_each_volume(pod, [&](const corev1::Volume& volume, std::size_t* bytes) {
            return set_up_volume(pod, volume, bytes);
        });
    }
    Result<void> refresh(const corev1::Pod& pod) override {
        SLUICE_TRY(check_name(pod.metadata().uid(), "metadata.uid"));
        return for_each_volume(
            pod, [&](const corev1::Volume& volume, std::size_t* bytes) -> Result<void> {
                if (!is_projected(volume)) return {};
                if (!has_payload(path_of(pod, volume))) return {};
                return write_payload(pod, volume, bytes);
            });
    }
    Result<std::vector<Mount>> mounts(
        const corev1::Pod& pod, const std::string& container_name,
        const std::map<std::string, std::string>& environment) override;
    Result<std::optional<std::string>> exceeded_limit(const corev1::Pod& pod) override;
    Result<void> tear_down(const std::string& pod_uid) override {
        SLUICE_TRY(check_name(pod_uid, "pod uid"));
        // First what is bound out of the volumes. The pod's directory goes last: until then it is
        // found again.
        SLUICE_TRY(remove_tree(pod_directory(pod_uid) + "/volume-subpaths"));
        SLUICE_TRY(remove_tree(pod_directory(pod_uid) + "/volumes"));
        return remove_tree(pod_directory(pod_uid));
    }
    [[nodiscard]] std::vector<std::string> pods_on_disk() const override {
        std::vector<std::string> out;
        std::error_code error;
        for (const auto& entry : fs::directory_iterator(root_ + "/pods", error)) {
            out.push_back(entry.path().filename().string());
        }
        std::sort(out.begin(), out.end());
        return out;
    }

private:
    [[nodiscard]] std::string pod_directory(const std::string& uid) const {
        return root_ + "/pods/" + uid;
    }
    // Where the volume lies on the node. For a hostPath the path that it names.
    [[nodiscard]] std::string path_of(const corev1::Pod& pod, const corev1::Volume& volume) const {
        const auto& source = volume.volumesource();
        if (source.has_hostpath()) return source.hostpath().path();
        return pod_directory(pod.metadata().uid()) + "/volumes/" +
               (is_empty_dir(source) ? "kubernetes.io~empty-dir" : folder_of(source)) + "/" +
               volume.name();
    }

    template <class Function>
    Result<void> for_each_volume(const corev1::Pod& pod, const Function& function) {
        std::size_t bytes = 0;
        for (const auto& volume : pod.spec().volumes()) {
            auto done = check_name(volume.name(), "volume name");
            if (done) done = function(volume, &bytes);
            if (!done) {
                return done.error().with_context(
                    fmt::format("MountVolume.SetUp failed for volume \"{}\" ", volume.name()));
            }
        }
        return {};
    }

    Result<void> set_up_volume(const corev1::Pod& pod, const corev1::Volume& volume,
                               std::size_t* bytes) {
        const auto& source = volume.volumesource();
        if (source.has_hostpath()) {
            return prepare_host_path(source.hostpath().path(), source.hostpath().type());
        }
        if (is_empty_dir(source)) return set_up_empty_dir(pod, volume);
        if (is_projected(volume)) {
            if (has_payload(path_of(pod, volume))) return {};
            return write_payload(pod, volume, bytes);
        }
        return make_error(Code::kUnimplemented, "volume source {} is not supported by this kubelet",
                          source_name(source));
    }

    // Mounts a tmpfs, unless one is there. Its first owner and mode are given with the mount, so
    // that there is no moment at which it has others.
    static Result<void> mount_tmpfs(const std::string& path, std::uint32_t mode, std::uint64_t size,
                                    std::optional<std::int64_t> group, bool executable) {
        SLUICE_TRY(make_directories(path, 0750));
        SLUICE_TRY_ASSIGN(const bool mounted, is_own_tmpfs(path));
        if (mounted) return {};
        std::string options = fmt::format("mode={:o}", mode | (group ? S_ISGID : 0U));
        if (group) options += fmt::format(",gid={}", *group);
        if (size > 0) options += fmt::format(",size={}", size);
        const unsigned long flags =
            MS_NOSUID | MS_NODEV | (executable ? 0UL : static_cast<unsigned long>(MS_NOEXEC));
        if (::mount("tmpfs", path.c_str(), "tmpfs", flags, options.c_str()) != 0) {
            return errno_error(errno, "cannot mount a tmpfs at {}", path);
        }
        return {};
    }

    Result<void> set_up_empty_dir(const corev1::Pod& pod, const corev1::Volume& volume) {
        const auto& source = volume.volumesource().emptydir();
        const std::string path = path_of(pod, volume);
        const std::optional<std::int64_t> group = group_of(pod);
        const std::uint32_t mode =
            source.has_mode() ? static_cast<std::uint32_t>(source.mode()) & 07777U : kEmptyDirMode;
        if (source.medium() == "Memory") {
            std::int64_t size = memory_limit(pod);
            if (source.has_sizelimit()) {
                SLUICE_TRY_ASSIGN(const auto limit,
                                  codec::Quantity::parse(source.sizelimit().string()));
                // A limit of zero is none, as upstream.
                if (limit.units() > 0) size = size > 0 ? std::min(size, limit.units()) : limit.units();
            }
            return mount_tmpfs(path, mode, static_cast<std::uint64_t>(size), group, true);
        }
        if (!source.medium().empty()) {
            return make_error(Code::kUnimplemented,
                              "emptyDir medium {} is not supported by this kubelet", source.medium());
        }
        std::error_code error;
        if (fs::is_directory(path, error)) return {};
        // Made aside and then named: once the name is there, mode and owner are right.
        const std::string fresh =
            path.substr(0, path.rfind('/')) + "/..new." + volume.name();
        SLUICE_TRY(remove_tree(fresh));
        SLUICE_TRY(make_directories(fresh, mode));
        if (group) {
            if (::chown(fresh.c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(*group)) != 0) {
                return errno_error(errno, "cannot chown {}", fresh);
            }
            if (::chmod(fresh.c_str(), static_cast<mode_t>(mode | S_ISGID | 0770U)) != 0) {
                return errno_error(errno, "cannot chmod {}", fresh);
            }
        }
        if (::rename(fresh.c_str(), path.c_str()) != 0) {
            return errno_error(errno, "cannot rename {}", fresh);
        }
        return {};
    }

    Result<void> write_payload(const corev1::Pod& pod, const corev1::Volume& volume,
                               std::size_t* bytes) {
        const PodFacts facts = facts_ ? facts_(pod) : PodFacts();
        SLUICE_TRY_ASSIGN(const Payload payload, make_payload(pod, volume, facts, objects_));
        for (const auto& [path, file] : payload) *bytes += file.content.size();
        if (*bytes > kMaxProjectedBytes || payload.size() > kMaxProjectedFiles) {
            return make_error(Code::kResourceExhausted,
                              "the pod's volumes of API objects have more than {} bytes or {} files",
                              kMaxProjectedBytes, kMaxProjectedFiles);
        }
        const std::string path = path_of(pod, volume);
        if (volume.volumesource().has_configmap()) {
            SLUICE_TRY(make_directories(path, kEmptyDirMode));
        } else {
            // Secrets and tokens never reach a disk.
            SLUICE_TRY(mount_tmpfs(path, kEmptyDirMode, kProjectedTmpfsBytes, std::nullopt, false));
        }
        SLUICE_TRY(write_atomically(path, payload, group_of(pod)));
        return {};
    }

    // Of a Container or the common part of an EphemeralContainer.
    template <class Container>
    Result<std::vector<Mount>> mounts_of(const corev1::Pod& pod, const Container& container,
                                         const std::map<std::string, std::string>& environment);

    const std::string root_;
    ObjectSource& objects_;
    const std::function<PodFacts(const corev1::Pod&)> facts_;
};

Result<std::string> expand_all(const std::string& text,
                               const std::map<std::string, std::string>& environment) {
    // What expand() leaves standing is a name without value, which a path must not have.
    for (std::size_t at = 0; at + 1 < text.size(); ++at) {
        if (text[at] != '$') continue;
        if (text[at + 1] == '(') {
            const std::size_t end = text.find(')', at);
            if (end == std::string::npos) break;
            const std::string name = text.substr(at + 2, end - at - 2);
            if (!environment.contains(name)) {
                return make_error(Code::kInvalidArgument, "missing value for \"{}\"", name);
            }
            at = end;
        } else {
            ++at;
        }
    }
    return expand(text, environment);
}

template <class Container>
Result<std::vector<Mount>> PodVolumes::mounts_of(
    const corev1::Pod& pod, const Container& container,
    const std::map<std::string, std::string>& environment) {
    if (!container.volumedevices().empty()) {
        return make_error(Code::kUnimplemented,
                          "container {}: volumeDevices are not supported by this kubelet",
                          container.name());
    }
    std::vector<Mount> out;
    int index = 0;
    for (const auto& mount : container.volumemounts()) {
        const corev1::Volume* volume = nullptr;
        for (const auto& candidate : pod.spec().volumes()) {
            if (candidate.name() == mount.name()) volume = &candidate;
        }
        if (volume == nullptr) {
            return make_error(Code::kNotFound, "cannot find volume \"{}\" to mount into container \"{}\"",
                              mount.name(), container.name());
        }
        if (mount.recursivereadonly() == "Enabled" || mount.bindmountoptions_size() > 0) {
            return make_error(Code::kUnimplemented,
                              "container {}: {} of volume mount {} is not supported by this kubelet",
                              container.name(),
                              mount.bindmountoptions_size() > 0 ? "bindMountOptions"
                                                                : "recursiveReadOnly Enabled",
                              mount.name());
        }
        Mount made;
        made.host_path = path_of(pod, *volume);
        made.container_path =
            mount.mountpath().starts_with('/') ? mount.mountpath() : "/" + mount.mountpath();
        // What the kubelet itself writes is not for containers to change.
        made.read_only = mount.readonly() || is_projected(*volume);
        if (mount.mountpropagation() != "None") made.propagation = mount.mountpropagation();
        std::string sub_path = mount.subpath();
        if (!mount.subpathexpr().empty()) {
            SLUICE_TRY_ASSIGN(sub_path, expand_all(mount.subpathexpr(), environment));
        }
        if (!sub_path.empty()) {
            const std::string target =
                fmt::format("{}/volume-subpaths/{}/{}/{}", pod_directory(pod.metadata().uid()),
                            volume->name(), container.name(), index);
            auto bound = bind_sub_path(made.host_path, sub_path, target);
            if (!bound) {
                return bound.error().with_context(
                    fmt::format("failed to prepare subPath for volumeMount \"{}\" of container \"{}\"",
                                mount.name(), container.name()));
            }
            made.host_path = target;
        }
        out.push_back(std::move(made));
        ++index;
    }
    return out;
}

Result<std::vector<Mount>> PodVolumes::mounts(
    const corev1::Pod& pod, const std::string& container_name,
    const std::map<std::string, std::string>& environment) {
    SLUICE_TRY(check_name(pod.metadata().uid(), "metadata.uid"));
    SLUICE_TRY(check_name(container_name, "container name"));
    for (const auto* containers : {&pod.spec().containers(), &pod.spec().initcontainers()}) {
        for (const auto& container : *containers) {
            if (container.name() == container_name) return mounts_of(pod, container, environment);
        }
    }
    for (const auto& container : pod.spec().ephemeralcontainers()) {
        const auto& common = container.ephemeralcontainercommon();
        if (common.name() == container_name) return mounts_of(pod, common, environment);
    }
    return make_error(Code::kNotFound, "pod {}/{} has no container {}", pod.metadata().namespace_(),
                      pod.metadata().name(), container_name);
}

Result<std::optional<std::string>> PodVolumes::exceeded_limit(const corev1::Pod& pod) {
    for (const auto& volume : pod.spec().volumes()) {
        const auto& source = volume.volumesource().emptydir();
        if (!source.has_sizelimit() || !source.medium().empty()) continue;
        SLUICE_TRY_ASSIGN(const auto limit, codec::Quantity::parse(source.sizelimit().string()));
        if (limit.units() <= 0) continue;
        const std::string path = path_of(pod, volume);
        std::error_code error;
        if (!fs::is_directory(path, error)) continue;
        SLUICE_TRY_ASSIGN(const std::uint64_t used, measure_tree(path));
        if (used > static_cast<std::uint64_t>(limit.units())) {
            return std::optional(fmt::format("Usage of EmptyDir volume \"{}\" exceeds the limit \"{}\". ",
                                             volume.name(), source.sizelimit().string()));
        }
    }
    return std::optional<std::string>();
}

}  // namespace

std::unique_ptr<Volumes> Volumes::create(const std::string& root, ObjectSource& objects,
                                         std::function<PodFacts(const corev1::Pod& pod)> facts) {
    return std::make_unique<PodVolumes>(root, objects, std::move(facts));
}

}  // namespace sluice::kubelet
