@echo off
rem 030-ghost-nics.cmd - removes the old adapters, then gives the new ones the names that this freed.
rem
rem SPDX-License-Identifier: GPL-2.0-or-later
setlocal
set code=0
if not exist "%H2K_DATA%\ghost-nics.txt" goto names
"%H2K_EXE%" --remove-ghosts "%H2K_DATA%\ghost-nics.txt"
set code=%errorlevel%
:names
if not exist "%H2K_DATA%\network.ini" exit %code%
"%H2K_EXE%" --network "%H2K_DATA%\network.ini" --names-only
if errorlevel 1 echo names could not all be given back
exit %code%
