// Volumes on a real file system, in a mount namespace of the test's own.
#include "control/kubelet/volumes/volumes.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "api/codec/json.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/kubelet/environment/test_objects.h"
#include "control/kubelet/volumes/files_private.h"

namespace sluice::kubelet {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string read(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

struct stat status_of(const fs::path& path) {
    struct stat info {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
    return info;
}

unsigned mode_of(const fs::path& path) { return status_of(path).st_mode & 07777U; }

class VolumesTest : public testing::Test {
protected:
    static void SetUpTestSuite() {
        ASSERT_EQ(::unshare(CLONE_NEWNS), 0) << "needs root";
        ASSERT_EQ(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    }
    void SetUp() override {
        char name[] = "/tmp/sluice-volumes-XXXXXX";
        root_ = ::mkdtemp(name);
        volumes_ = Volumes::create(root_.string(), objects_);
    }
    void TearDown() override {
        EXPECT_TRUE(volumes_->tear_down("u1"));
        EXPECT_TRUE(remove_tree(root_.string()));
    }

    static corev1::Pod pod(const std::string& volumes, const std::string& mounts = "[]",
                           const std::string& more = "") {
        corev1::Pod out;
        const auto decoded = codec::decode_json(
            R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"n","uid":"u1",
                "labels":{"app":"web"}},"spec":{)" + more + R"("containers":[{"name":"c","volumeMounts":)" +
                mounts + R"(}],"volumes":)" + volumes + "}}", &out);
        EXPECT_TRUE(decoded) << decoded.error().message;
        return out;
    }
    fs::path volume(const std::string& kind, const std::string& name) const {
        return root_ / "pods/u1/volumes" / ("kubernetes.io~" + kind) / name;
    }
    std::string set_up_error(const corev1::Pod& of) {
        const auto done = volumes_->set_up(of);
        return done ? "" : done.error().message;
    }

    TestObjects objects_;
    fs::path root_;
    std::unique_ptr<Volumes> volumes_;
};

TEST_F(VolumesTest, ConfigMapChangesAtOnceAndKeepsItsLayout) {
    objects_.put_config_map("page", {{"index.html", "one"}, {"old", "x"}});
    const auto of = pod(R"([{"name":"v","configMap":{"name":"page"}}])");
    ASSERT_TRUE(volumes_->set_up(of));
    const fs::path v = volume("configmap", "v");
    EXPECT_EQ(read(v / "index.html"), "one");
    EXPECT_EQ(fs::read_symlink(v / "index.html"), "..data/index.html");
    EXPECT_EQ(mode_of(v / "index.html"), 0644U);
    const fs::path first = fs::read_symlink(v / "..data");

    ASSERT_TRUE(volumes_->refresh(of));
    EXPECT_EQ(fs::read_symlink(v / "..data"), first) << "nothing changed";

    objects_.put_config_map("page", {{"index.html", "two"}});
    ASSERT_TRUE(volumes_->refresh(of));
    EXPECT_EQ(read(v / "index.html"), "two");
    EXPECT_NE(fs::read_symlink(v / "..data"), first);
    EXPECT_FALSE(fs::exists(fs::symlink_status(v / "old")));
    EXPECT_FALSE(fs::exists(v / first)) << "the old version stays behind";
}

TEST_F(VolumesTest, ItemsModesAndGroup) {
    objects_.put_config_map("cm", {{"a", "1"}, {"b", "2"}});
    const auto of = pod(R"([{"name":"v","configMap":{"name":"cm","defaultMode":256,
        "items":[{"key":"a","path":"d/e/a.txt"},{"key":"b","path":"b","mode":384}]}}])", "[]",
        R"("securityContext":{"fsGroup":2345},)");
    ASSERT_TRUE(volumes_->set_up(of));
    const fs::path v = volume("configmap", "v");
    EXPECT_EQ(read(v / "d/e/a.txt"), "1");
    EXPECT_EQ(mode_of(v / "d/e/a.txt"), 0440U);
    EXPECT_EQ(mode_of(v / "b"), 0640U);
    EXPECT_EQ(status_of(v / "b").st_gid, 2345U);
}

TEST_F(VolumesTest, TokensAreWrittenAndRenewed) {
    const std::string volumes = R"([{"name":"t","projected":{"defaultMode":420,"sources":[
        {"serviceAccountToken":{"path":"token","expirationSeconds":3607,"audience":"vault"}},
        {"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"fieldPath":"metadata.namespace"}}]}}]}}])";
    const auto of = pod(volumes, "[]", R"("serviceAccountName":"robot",)");
    ASSERT_EQ(set_up_error(of), "");
    const fs::path t = volume("projected", "t");
    EXPECT_EQ(read(t / "token"), "robot/vault/3607/1");
    EXPECT_EQ(read(t / "namespace"), "n");
    EXPECT_EQ(mode_of(t / "token"), 0644U);
    const fs::path first = fs::read_symlink(t / "..data");
    objects_.token_version = 2;
    ASSERT_TRUE(volumes_->refresh(of));
    EXPECT_EQ(read(t / "token"), "robot/vault/3607/2");
    EXPECT_NE(fs::read_symlink(t / "..data"), first) << "not replaced at once";
}

TEST_F(VolumesTest, TokensAreForWhoRunsThePod) {
    const std::string volumes =
        R"([{"name":"t","projected":{"sources":[{"serviceAccountToken":{"path":"token","expirationSeconds":600}}]}}])";
    const auto alone = pod(volumes, "[]", R"("securityContext":{"runAsUser":1234},)");
    ASSERT_EQ(set_up_error(alone), "");
    const fs::path token = volume("projected", "t") / "token";
    EXPECT_EQ(mode_of(token), 0600U);
    EXPECT_EQ(status_of(token).st_uid, 1234U);
    ASSERT_TRUE(volumes_->tear_down("u1"));
    // With a group, it may read; of two users neither owns it.
    const auto group = pod(volumes, "[]", R"("securityContext":{"fsGroup":2345,"runAsUser":1234},
        "initContainers":[{"name":"i","securityContext":{"runAsUser":5}}],)");
    ASSERT_EQ(set_up_error(group), "");
    EXPECT_EQ(mode_of(token), 0640U);
    EXPECT_EQ(status_of(token).st_gid, 2345U);
    EXPECT_EQ(status_of(token).st_uid, 0U);
}

TEST_F(VolumesTest, RefusesPathsThatLeadOut) {
    objects_.put_config_map("cm", {{"a", "1"}});
    for (const std::string path : {"../x", "/etc/x", "a/../../x", "..data"}) {
        const auto of = pod(R"([{"name":"v","configMap":{"name":"cm","items":[{"key":"a","path":")" + path +
                            R"("}]}}])");
        EXPECT_THAT(set_up_error(of), HasSubstr("MountVolume.SetUp failed for volume \"v\" : path")) << path;
    }
}

TEST_F(VolumesTest, MissingObjectsAndKeys) {
    EXPECT_EQ(set_up_error(pod(R"([{"name":"page","configMap":{"name":"web"}}])")),
              "MountVolume.SetUp failed for volume \"page\" : configmap \"web\" not found");
    EXPECT_EQ(set_up_error(pod(R"([{"name":"s","secret":{"secretName":"x"}}])")),
              "MountVolume.SetUp failed for volume \"s\" : secret \"x\" not found");
    objects_.put_config_map("cm", {});
    EXPECT_EQ(set_up_error(pod(R"([{"name":"v","configMap":{"name":"cm","items":[{"key":"k","path":"k"}]}}])")),
              "MountVolume.SetUp failed for volume \"v\" : references non-existent config key: k");
    EXPECT_EQ(set_up_error(pod(R"([{"name":"o","configMap":{"name":"no","optional":true}}])")), "");
    EXPECT_TRUE(fs::is_directory(volume("configmap", "o")));
    EXPECT_THAT(set_up_error(pod(R"([{"name":"n","nfs":{"server":"s","path":"/"}}])")), HasSubstr("nfs"));
    EXPECT_THAT(set_up_error(pod(R"([{"name":"n","projected":{"sources":[{"clusterTrustBundle":{"path":"t"}}]}}])")),
                HasSubstr("clusterTrustBundle"));
}

TEST_F(VolumesTest, SecretsLieInMemoryAndGoAway) {
    objects_.put_secret("s", {{"key", "hidden"}});
    const auto of = pod(R"([{"name":"v","secret":{"secretName":"s"}}])");
    ASSERT_TRUE(volumes_->set_up(of));
    ASSERT_TRUE(volumes_->set_up(of)) << "harmless to repeat";
    EXPECT_EQ(read(volume("secret", "v") / "key"), "hidden");
    const auto mounted = mounts_below((root_ / "pods/u1").string());
    ASSERT_TRUE(mounted);
    ASSERT_EQ(mounted->size(), 1U);
    EXPECT_EQ(mounted->front().type, "tmpfs");
    EXPECT_THAT(volumes_->pods_on_disk(), ElementsAre("u1"));

    // A kubelet that starts anew finds what the other one made.
    ASSERT_TRUE(Volumes::create(root_.string(), objects_)->tear_down("u1"));
    EXPECT_FALSE(fs::exists(root_ / "pods/u1"));
    EXPECT_THAT(*mounts_below(root_.string()), IsEmpty());
    EXPECT_THAT(volumes_->pods_on_disk(), IsEmpty());
}

TEST_F(VolumesTest, ProjectedJoinsItsSources) {
    objects_.put_config_map("cm", {{"a", "1"}});
    objects_.put_secret("s", {{"b", "2"}});
    ASSERT_EQ(set_up_error(pod(R"([{"name":"v","projected":{"sources":[{"configMap":{"name":"cm"}},
        {"secret":{"name":"s","items":[{"key":"b","path":"x/b"}]}},
        {"downwardAPI":{"items":[{"path":"labels","fieldRef":{"fieldPath":"metadata.labels"}}]}},
        {"secret":{"name":"none","optional":true}}]}}])")), "");
    const fs::path v = volume("projected", "v");
    EXPECT_EQ(read(v / "a") + read(v / "x/b") + read(v / "labels"), "12app=\"web\"");
}

TEST_F(VolumesTest, EmptyDirs) {
    const auto of = pod(R"([{"name":"d","emptyDir":{"sizeLimit":"64Ki"}},
        {"name":"m","emptyDir":{"medium":"Memory","sizeLimit":"1Mi"}}])", "[]",
        R"("securityContext":{"fsGroup":77},)");
    ASSERT_EQ(set_up_error(of), "");
    const fs::path d = volume("empty-dir", "d");
    EXPECT_EQ(mode_of(d), 02777U);
    EXPECT_EQ(status_of(d).st_gid, 77U);
    const fs::path m = volume("empty-dir", "m");
    EXPECT_EQ(mode_of(m), 02777U);
    EXPECT_EQ(status_of(m).st_gid, 77U);
    struct statvfs system {};
    ASSERT_EQ(::statvfs(m.c_str(), &system), 0);
    EXPECT_EQ(system.f_blocks * system.f_frsize, 1U << 20U);

    EXPECT_EQ(*volumes_->exceeded_limit(of), std::nullopt);
    std::ofstream(d / "big") << std::string(100'000, 'x');
    ASSERT_TRUE(volumes_->set_up(of));
    EXPECT_TRUE(fs::exists(d / "big")) << "set up twice, and emptied";
    EXPECT_EQ(*volumes_->exceeded_limit(of), "Usage of EmptyDir volume \"d\" exceeds the limit \"64Ki\". ");
}

TEST_F(VolumesTest, HostPathTypes) {
    const std::string base = (root_ / "host").string();
    fs::create_directory(base);
    std::ofstream(base + "/file") << "x";
    const auto with = [&](const std::string& path, const std::string& type) {
        return set_up_error(pod(R"([{"name":"h","hostPath":{"path":")" + path + R"(","type":")" + type + R"("}}])"));
    };
    EXPECT_EQ(with(base, "Directory"), "");
    EXPECT_EQ(with(base + "/file", "File"), "");
    EXPECT_EQ(with("/dev/null", "CharDevice"), "");
    EXPECT_EQ(with(base + "/new/dir", "DirectoryOrCreate"), "");
    EXPECT_TRUE(fs::is_directory(base + "/new/dir"));
    EXPECT_EQ(with(base + "/made", "FileOrCreate"), "");
    EXPECT_TRUE(fs::is_regular_file(base + "/made"));
    EXPECT_EQ(with(base + "/nothing", ""), "");
    EXPECT_THAT(with(base + "/nothing", "Directory"), HasSubstr("hostPath type check failed: "));
    EXPECT_THAT(with(base + "/nothing", "Directory"), HasSubstr("/nothing is not a directory"));
    EXPECT_THAT(with(base + "/file", "Directory"), HasSubstr("is not a directory"));
    EXPECT_THAT(with(base, "Socket"), HasSubstr("is not a socket file"));
    EXPECT_THAT(with(base, "BlockDevice"), HasSubstr("is not a block device"));
    EXPECT_THAT(with(base + "/../x", ""), HasSubstr("must not contain '..'"));

    ASSERT_TRUE(volumes_->tear_down("u1"));
    EXPECT_TRUE(fs::exists(base + "/file")) << "the node's files are not the pod's";
}

TEST_F(VolumesTest, Mounts) {
    objects_.put_config_map("cm", {{"index.html", "hello"}});
    const auto of = pod(R"([{"name":"v","configMap":{"name":"cm"}},{"name":"d","emptyDir":{}},
        {"name":"h","hostPath":{"path":"/var"}}])",
        R"([{"name":"v","mountPath":"/page"},{"name":"d","mountPath":"/d","mountPropagation":"HostToContainer"},
            {"name":"h","mountPath":"/h","readOnly":true},
            {"name":"v","mountPath":"/one","subPath":"index.html"},
            {"name":"d","mountPath":"/e","subPathExpr":"$(POD)/logs"}])");
    ASSERT_EQ(set_up_error(of), "");
    const auto made = volumes_->mounts(of, "c", {{"POD", "web-1"}});
    ASSERT_TRUE(made) << made.error().message;
    ASSERT_EQ(made->size(), 5U);
    EXPECT_TRUE((*made)[0].read_only);
    EXPECT_EQ((*made)[0].container_path, "/page");
    EXPECT_FALSE((*made)[1].read_only);
    EXPECT_EQ((*made)[1].propagation, "HostToContainer");
    EXPECT_EQ((*made)[2].host_path, "/var");
    EXPECT_TRUE((*made)[2].read_only);
    EXPECT_EQ(read((*made)[3].host_path), "hello");
    EXPECT_TRUE(fs::is_directory(volume("empty-dir", "d") / "web-1/logs"));
    EXPECT_EQ(mode_of((*made)[4].host_path), 0777U);

    // A container that starts again sees the file as it is by then.
    objects_.put_config_map("cm", {{"index.html", "newer"}});
    ASSERT_TRUE(volumes_->refresh(of));
    EXPECT_EQ(read((*made)[3].host_path), "hello");
    const auto again = volumes_->mounts(of, "c", {{"POD", "web-1"}});
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(read((*again)[3].host_path), "newer");

    const auto unset = volumes_->mounts(of, "c", {});
    ASSERT_FALSE(unset);
    EXPECT_THAT(unset.error().message, HasSubstr("missing value for \"POD\""));
    EXPECT_FALSE(volumes_->mounts(of, "other", {}));
}

TEST_F(VolumesTest, SubPathStaysInItsVolume) {
    const auto of = [&](const std::string& sub) {
        return pod(R"([{"name":"d","emptyDir":{}}])",
                   R"([{"name":"d","mountPath":"/d","subPath":")" + sub + R"("}])");
    };
    ASSERT_EQ(set_up_error(of("x")), "");
    const fs::path d = volume("empty-dir", "d");
    fs::create_directory(d / "inside");
    fs::create_symlink("/etc", d / "out");
    fs::create_symlink("../../../../../..", d / "up");
    fs::create_symlink("inside", d / "link");
    const auto error = [&](const std::string& sub) {
        const auto made = volumes_->mounts(of(sub), "c", {});
        return made ? "" : made.error().message;
    };
    EXPECT_THAT(error("out"), HasSubstr("leads out of the volume"));
    EXPECT_THAT(error("out/passwd"), HasSubstr("leads out of the volume"));
    EXPECT_THAT(error("out/sluice-new"), HasSubstr("leads out of the volume"));
    EXPECT_THAT(error("up/etc"), HasSubstr("leads out of the volume"));
    EXPECT_THAT(error("../x"), HasSubstr("must not contain '..'"));
    EXPECT_THAT(error("/etc"), HasSubstr("relative"));
    EXPECT_EQ(error("link"), "");
    EXPECT_FALSE(fs::exists("/etc/sluice-new"));
}

TEST_F(VolumesTest, LinksInAVolumeAreNotFollowedWhenItGoes) {
    const auto of = pod(R"([{"name":"d","emptyDir":{}}])");
    ASSERT_EQ(set_up_error(of), "");
    const fs::path kept = root_ / "kept";
    fs::create_directory(kept);
    std::ofstream(kept / "file") << "x";
    fs::create_directory_symlink(kept, volume("empty-dir", "d") / "link");
    ASSERT_TRUE(volumes_->tear_down("u1"));
    EXPECT_TRUE(fs::exists(kept / "file"));
    EXPECT_FALSE(volumes_->tear_down("../kept"));
    EXPECT_TRUE(volumes_->tear_down("never-was"));
}

TEST(Mountinfo, Escapes) {
    const auto points = parse_mountinfo(
        "36 35 98:0 /mnt1 /a\\040b rw,noatime master:1 - ext3 /dev/root rw\n"
        "37 35 98:0 / /c rw - tmpfs tmpfs rw\nbroken\n");
    ASSERT_EQ(points.size(), 2U);
    EXPECT_EQ(points[0].path, "/a b");
    EXPECT_EQ(points[0].type, "ext3");
    EXPECT_EQ(points[1].type, "tmpfs");
}

}  // namespace
}  // namespace sluice::kubelet
