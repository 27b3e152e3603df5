// What the loader tells the programs before it loads them, seen by what the verifier leaves of them.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include "dataplane/ebpf/programs.h"
#include "dataplane/ebpf/sandbox.h"

namespace sluice::dataplane {
namespace {

// Bytes of a program after the branches that its constants rule out are gone.
std::uint32_t size_of(const Programs& programs, const char* name) {
    bpf_prog_info info{};
    std::uint32_t length = sizeof(info);
    EXPECT_EQ(bpf_obj_get_info_by_fd(programs.program(name), &info, &length), 0) << name;
    return info.xlated_prog_len;
}

// The offset of an XDP constant within its section was once taken to be 0 and the section to hold nothing else, and so
// frames of several buffers were never served.
TEST(ConstantsTest, EachFeatureChangesTheProgramsThatAskForIt) {
    const auto sandbox = Sandbox::enter();
    ASSERT_TRUE(sandbox);
    EbpfOptions options;
    options.object_dir = SLUICE_BPF_DIR;
    options.flow_entries = kLeastFlowEntries;
    auto image = KernelImage::create(image::Capacities{});
    ASSERT_TRUE(image) << image.error().to_string();
    Features all;
    all.set_retval = all.xdp_frags = true;
    auto with = Programs::load(options, all, **image, sandbox->bpffs());
    ASSERT_TRUE(with) << with.error().to_string();
    auto without = Programs::load(options, Features{}, **image, sandbox->bpffs());
    ASSERT_TRUE(without) << without.error().to_string();
    EXPECT_EQ((*with)->xdp_refusal(), "");
    EXPECT_EQ((*without)->xdp_refusal(), "");
    EXPECT_NE(size_of(**with, "sluice_xdp"), size_of(**without, "sluice_xdp"));
    EXPECT_NE(size_of(**with, "sluice_connect4"), size_of(**without, "sluice_connect4"));
    // The namespace is compared only where there are packet programs to leave traffic to.
    options.tc = false;
    auto alone = Programs::load(options, all, **image, sandbox->bpffs());
    ASSERT_TRUE(alone) << alone.error().to_string();
    EXPECT_NE(size_of(**alone, "sluice_connect4"), size_of(**with, "sluice_connect4"));
}

}  // namespace
}  // namespace sluice::dataplane
