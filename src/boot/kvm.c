/* kvm.c - whether KVM runs guests on this host, found out by running one for a moment.
 *
 * An accessible /dev/kvm proves little: inside VMs and sandboxes it may answer every ioctl and then
 * hang the first guest. So a boot sector (kvm-probe.S) is run, with the CPU model that guests get.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/kvm.h"
#include "boot/kvm-probe.h"
#include "domain/arch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the probe writes to isa-debug-exit, as QEMU's exit status. */
#define PROBE_PASSED ((0x10 << 1) | 1)
#define PROBE_FAILED ((0x01 << 1) | 1)
#define PROBE_MS 5000

/* The probe as a disk. The BIOS wants at least a cylinder. */
static int
probe_image (void)
{
  static const guint8 signature[] = {0x55, 0xaa};
  int fd = memfd_create ("kvm-probe", MFD_CLOEXEC);

  G_STATIC_ASSERT (sizeof h2k_kvm_probe <= 510);
  if (fd >= 0
      && (ftruncate (fd, 1 << 20) != 0
          || h2k_pwrite_full (fd, h2k_kvm_probe, sizeof h2k_kvm_probe, 0) != 0
          || h2k_pwrite_full (fd, signature, sizeof signature, 510) != 0))
    {
      close (fd);
      return -1;
    }
  return fd;
}

static void
child_setup (gpointer data)
{
  /* Also when this process is killed. */
  prctl (PR_SET_PDEATHSIG, SIGKILL);
}

/* The exit status of the child PID, or -1 when it had to be killed after PROBE_MS. */
static int
wait_limited (GSubprocess *process)
{
  gint64 end = g_get_monotonic_time () + PROBE_MS * G_TIME_SPAN_MILLISECOND;

  /* GLib reaps the child; its identifier is NULL from then on. */
  while (g_subprocess_get_identifier (process) != NULL && g_get_monotonic_time () < end)
    g_usleep (10 * 1000);
  if (g_subprocess_get_identifier (process) != NULL)
    {
      g_subprocess_force_exit (process);
      g_subprocess_wait (process, NULL, NULL);
      return -1;
    }
  g_subprocess_wait (process, NULL, NULL);
  return g_subprocess_get_if_exited (process) ? g_subprocess_get_exit_status (process) : 255;
}

gboolean
h2k_accel_probe (const char *emulator, const char *accel, const char **why)
{
  g_autoptr (GSubprocessLauncher) launcher = g_subprocess_launcher_new (
      G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_SILENCE);
  g_autoptr (GSubprocess) process = NULL;
  int image = probe_image ();
  const char *reason = NULL;

  if (image >= 0)
    {
      g_subprocess_launcher_set_child_setup (launcher, child_setup, NULL, NULL);
      g_subprocess_launcher_take_fd (launcher, image, 3);
      process = g_subprocess_launcher_spawn (
          launcher, NULL, emulator, "-nodefaults", "-no-user-config", "-display", "none",
          "-machine", "q35", "-accel", accel, "-cpu", "max", "-m", "64M", "-no-reboot", "-add-fd",
          "fd=3,set=1", "-blockdev",
          "driver=raw,node-name=probe,file.driver=file,file.filename=/dev/fdset/1,file.locking=off",
          "-device", "virtio-blk-pci,drive=probe", "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
          NULL);
    }
  if (process == NULL)
    reason = "QEMU could not be started to try it";
  else
    switch (wait_limited (process))
      {
      case PROBE_PASSED:
        break;
      case -1:
        reason = "/dev/kvm is there, but a test guest hung under it (is this host itself a VM "
                 "without working nested virtualisation?)";
        break;
      case PROBE_FAILED:
        reason = "a test guest's BIOS calls failed under KVM";
        break;
      default:
        reason = "/dev/kvm is there, but QEMU ended when it ran a test guest under KVM";
        break;
      }
  if (why != NULL)
    *why = reason;
  return reason == NULL;
}

/* NULL when KVM works. */
static const char *
find_out (void)
{
  const char *why = NULL;
  int fd = open ("/dev/kvm", O_RDWR | O_CLOEXEC);

  if (fd < 0)
    return errno == ENOENT ? "this host has no /dev/kvm (no hardware virtualisation, or the kvm "
                             "module is not loaded)"
           : errno == EACCES || errno == EPERM
               ? "no permission for /dev/kvm (add the user to the group kvm)"
               : "/dev/kvm cannot be opened";
  close (fd);
#if defined __x86_64__
  h2k_accel_probe (h2k_arch_get ("x86_64")->emulator, "kvm", &why);
#endif
  /* Elsewhere /dev/kvm is only served by hardware; the watchdog of the boot test is what is left.
   */
  return why;
}

gboolean
h2k_kvm_works (const char **why)
{
  static gsize once;
  static const char *reason;

  if (g_once_init_enter (&once))
    {
      reason = find_out ();
      g_once_init_leave (&once, 1);
    }
  if (why != NULL)
    *why = reason;
  return reason == NULL;
}
