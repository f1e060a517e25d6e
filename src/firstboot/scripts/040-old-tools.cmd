@echo off
rem 040-old-tools.cmd - the old hypervisor's programs are uninstalled or disabled.
rem
rem SPDX-License-Identifier: GPL-2.0-or-later
if not exist "%H2K_DATA%\old-tools.ini" exit 0
"%H2K_EXE%" --remove-tools "%H2K_DATA%\old-tools.ini"
exit %errorlevel%
