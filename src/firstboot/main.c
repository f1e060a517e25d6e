/* main.c - h2k-firstboot.exe: the service, and what it can do by hand and for its scripts.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

typedef struct
{
  const wchar_t *option;
  int (*run) (int argc, wchar_t **argv);
  const wchar_t *help;
} Mode;

static void
print (const wchar_t *text)
{
  char *bytes = fb_to_utf8 (text);
  DWORD written;

  WriteFile (GetStdHandle (STD_OUTPUT_HANDLE), bytes, (DWORD)strlen (bytes), &written, NULL);
  fb_free (bytes);
}

static int mode_help (int argc, wchar_t **argv);

static int
mode_install (int argc, wchar_t **argv)
{
  (void)argc, (void)argv;
  return fb_service_install ();
}

static int
mode_remove (int argc, wchar_t **argv)
{
  (void)argc, (void)argv;
  fb_remove_service ();
  return FB_OK;
}

static int
mode_run (int argc, wchar_t **argv)
{
  FbContext *context = fb_context_new (FALSE);
  int result = fb_run (context);

  (void)argc, (void)argv;
  fb_context_free (context);
  return result;
}

static const Mode modes[] = {
    {L"--help", mode_help, L"                         this text"},
    {L"--install", mode_install, L"                      make it a service that starts at boot"},
    {L"--remove", mode_remove, L"                       remove the service, not the files"},
    {L"--run", mode_run,
     L"                          run the scripts now; nothing is removed or restarted:\r\n"
     L"                                 exit code 0, 1 (some failed), 3010 (restart, then again)"},
    {L"--install-driver", fb_mode_install_driver,
     L" INF           into the driver store, and onto devices that are there"},
    {L"--forget-drivers", fb_mode_forget_drivers,
     L" FILE [--dry-run]\r\n"
     L"                                 drop registry entries made offline whose driver is "
     L"installed"},
    {L"--network", fb_mode_network,
     L" FILE [--names-only] [--dry-run [--as 5.1]]\r\n"
     L"                                 give network adapters their addresses and names"},
    {L"--remove-ghosts", fb_mode_remove_ghosts,
     L" FILE [--dry-run]\r\n"
     L"                                 remove listed network adapters that are not there"},
    {L"--remove-tools", fb_mode_remove_tools,
     L" FILE [--dry-run]\r\n"
     L"                                 uninstall or disable the old hypervisor's programs"},
    {L"--disks", fb_mode_disks,
     L" [--dry-run]            bring disks that are offline or read-only online"},
};

static int
mode_help (int argc, wchar_t **argv)
{
  (void)argc, (void)argv;
  print (L"h2k-firstboot: makes a Windows system at home on KVM, at its first boot there.\r\n"
         L"Started by the service manager it runs scripts\\NNN-*.{cmd,bat,ps1,vbs,msi,reg,exe}\r\n"
         L"beside it, each once, as firstboot.ini says; see h2k-firstboot.log afterwards.\r\n\r\n");
  for (size_t i = 0; i < FB_COUNT (modes); i++)
    {
      wchar_t *line = fb_format (L"  %s%s\r\n", modes[i].option, modes[i].help);

      print (line);
      fb_free (line);
    }
  return FB_OK;
}

/* Called by the C library, which does not declare it. */
int wmain (int argc, wchar_t **argv);

int
wmain (int argc, wchar_t **argv)
{
  fb_harden ();
  if (argc < 2)
    {
      if (fb_service_main () == FB_OK)
        return FB_OK;
      mode_help (0, NULL);
      return FB_USAGE;
    }
  for (size_t i = 0; i < FB_COUNT (modes); i++)
    if (wcscmp (argv[1], modes[i].option) == 0)
      {
        fb_log_open (NULL, 0, TRUE);
        return modes[i].run (argc - 2, argv + 2);
      }
  mode_help (0, NULL);
  return FB_USAGE;
}
