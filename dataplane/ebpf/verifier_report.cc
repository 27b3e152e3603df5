// Loads every variant of every packet and socket program and prints what the verifier made of it: a table in Markdown.
// Needs root. Attaches nothing. The variants are those that kernels decide: with bpf_set_retval and without it (before
// Linux 5.18), and XDP with and without frames of several buffers.
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "dataplane/ebpf/programs.h"
#include "dataplane/ebpf/sandbox.h"

namespace sluice::dataplane {
namespace {

// A program may have so many; beyond half of that a report is a warning.
constexpr std::uint32_t kVerifierLimit = 1000000;

struct Row {
    std::string name;
    std::uint32_t checked = 0;  // instructions that the verifier went through
    std::uint32_t bytes = 0;    // translated
    std::uint32_t jited = 0;
};

Row describe(const std::string& name, int program) {
    Row out{name, 0, 0, 0};
    bpf_prog_info info{};
    std::uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(program, &info, &length) == 0) {
        out.checked = info.verified_insns;
        out.bytes = info.xlated_prog_len;
        out.jited = info.jited_prog_len;
    }
    return out;
}

int report(const char* variant, const Features& features, const std::string& state) {
    EbpfOptions options;
    options.object_dir = SLUICE_BPF_DIR;
    options.flow_entries = kLeastFlowEntries;
    auto image = KernelImage::create(image::Capacities{});
    if (!image) {
        std::fprintf(stderr, "%s\n", image.error().to_string().c_str());
        return 1;
    }
    const auto start = std::chrono::steady_clock::now();
    auto programs = Programs::load(options, features, **image, state);
    const double ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    if (!programs) {
        std::fprintf(stderr, "%s: %s\n", variant, programs.error().to_string().c_str());
        return 1;
    }
    std::printf("\n## %s\n\nAll objects loaded in %.0f ms.\n\n", variant, ms);
    std::printf("| program | instructions checked | of the limit | bytes | machine code |\n|---|---|---|---|---|\n");
    int bad = 0;
    for (const auto& [name, program] : (*programs)->all()) {
        const Row row = describe(name, program);
        std::printf("| %s | %u | %.1f%% | %u | %u |\n", row.name.c_str(), row.checked,
                    100.0 * row.checked / kVerifierLimit, row.bytes, row.jited);
        bad += row.checked > kVerifierLimit / 2 ? 1 : 0;
    }
    if (!(*programs)->xdp_refusal().empty()) {
        std::printf("\nXDP: refused: %s\n", (*programs)->xdp_refusal().c_str());
        ++bad;
    }
    return bad;
}

int run() {
    const auto sandbox = Sandbox::enter();
    if (!sandbox) {
        return 1;
    }
    std::printf("# What the verifier makes of the programs\n\nPrinted by scripts/verifier-report.\n");
    int bad = report("As this kernel has it", Features::probe(), sandbox->bpffs());
    bad += report("As Linux 5.15 has it", Features{}, sandbox->bpffs());
    return bad == 0 ? 0 : 1;
}

}  // namespace
}  // namespace sluice::dataplane

int main() { return sluice::dataplane::run(); }
